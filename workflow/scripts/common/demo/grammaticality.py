"""Grammatical sentences, and sentences with one to three mistakes: the `acceptability` task.

Each pattern is a function of a random generator and `good`; it returns a sentence without its full stop, correct or
with the pattern's typical mistake (like CoLA and BLiMP).
"""

from random import Random

from common.demo import vocabulary

PLURALS = {row[1] for row in vocabulary.PEOPLE + vocabulary.THINGS}
BASE, THIRD, PAST, PARTICIPLE, ING = range(5)


def sentence(rng: Random, good: bool) -> str:
    """Make a sentence, acceptable or with some of: the pattern's mistake, a wrong word form, a garbled order."""
    pattern = rng.choice(PATTERNS)
    if good:
        return finish(pattern(rng, True))
    mistakes = rng.choice(MISTAKES)
    text = " ".join(pattern(rng, "own" not in mistakes).split())
    formed = misform(rng, text) if "form" in mistakes else text
    # Once only: a second garbling may undo the first.
    if "order" in mistakes or ("form" in mistakes and formed == text):
        formed = garble(rng, formed)
    return finish(formed)


def misform(rng: Random, text: str) -> str:
    """Regularise an irregular word ("breaked"); return the text unchanged if it has none."""
    parts = text.split()
    spots = [at for at, word in enumerate(parts) if word in vocabulary.BY_RULE]
    if spots:
        at = rng.choice(spots)
        parts[at] = vocabulary.BY_RULE[parts[at]]
    return " ".join(parts)


def finish(text: str) -> str:
    text = " ".join(text.split())
    return text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")


def garble(rng: Random, text: str) -> str:
    """Swap two adjacent words, or drop or double a function word."""
    mark = "?" if text.endswith("?") else ""
    parts = text.rstrip("?").split()
    small = [
        at for at, word in enumerate(parts) if word in ("the", "a", "to", "of", "in", "at", "on", "that", "by", "is")
    ]
    kind = rng.choice(("swap", "swap", "drop", "double"))
    if kind == "swap" or not small:
        # A determiner and the next word: always wrong, whichever the words are.
        spots = [at for at in range(len(parts) - 1) if parts[at] in ("the", "a", "this", "these", "every", "some")]
        at = rng.choice(spots or [len(parts) - 2])
        parts[at : at + 2] = parts[at + 1], parts[at]
    elif kind == "drop":
        # Not "the" before a plural, where it is optional.
        spots = [at for at in small if parts[at] != "the" or not PLURALS & set(parts[at + 1 : at + 3])]
        del parts[rng.choice(spots or small)]
    else:
        at = rng.choice(small)
        parts.insert(at, parts[at])
    return " ".join(parts) + mark


def person(rng: Random, plural: bool | None = None) -> tuple[str, bool]:
    """Return a phrase such as "the old king", and whether it is plural."""
    plural = rng.random() < 0.5 if plural is None else plural
    adjective = rng.choice(("", "", "", *vocabulary.ADJECTIVES[-5:]))
    return f"the {adjective} {rng.choice(vocabulary.PEOPLE)[plural]}", plural


def thing(rng: Random) -> str:
    return f"{rng.choice(('the', 'a', 'this', 'every'))} {rng.choice(vocabulary.THINGS)[0]}"


def agreement(rng: Random, good: bool) -> str:
    """Test agreement of subject and verb, with a noun of the other number in between."""
    subject, plural = person(rng)
    other = rng.choice(vocabulary.PEOPLE)[not plural]
    between = rng.choice((f"near the {other}", f"with the {other}", f"that the {other} saw", f"behind the {other}", ""))
    form = (BASE if plural else THIRD) if good else (THIRD if plural else BASE)
    if rng.random() < 0.5:
        verb = {BASE: "are", THIRD: "is"}[form] + " " + rng.choice(vocabulary.ADJECTIVES)
    else:
        verb = rng.choice(vocabulary.INTRANSITIVE)[form] + " " + rng.choice(vocabulary.PLACES)
    return f"{subject} {between} {verb}"


def reflexive(rng: Random, good: bool) -> str:
    """Test herself, himself, themselves."""
    one, many, pronoun = rng.choice(vocabulary.PEOPLE)
    plural = rng.random() < 0.4
    right = "themselves" if plural else pronoun
    wrong = [word for word in ("herself", "himself", "themselves") if word != right]
    verb = rng.choice(("admired", "washed", "blamed", "hurt", "saw", "introduced", "prepared"))
    return f"the {many if plural else one} {verb} {right if good else rng.choice(wrong)} {rng.choice(vocabulary.TIMES)}"


def verb_form(rng: Random, good: bool) -> str:
    """Test the verb form after an auxiliary."""
    subject, plural = person(rng)
    auxiliary, form = rng.choice(
        (("will", BASE), ("can", BASE), ("did not", BASE), ("had", PARTICIPLE), ("had never", PARTICIPLE))
        + ((("were", ING), ("have", PARTICIPLE)) if plural else (("was", ING), ("has", PARTICIPLE)))
    )
    verb = rng.choice(vocabulary.TRANSITIVE)
    wrong = [item for index, item in enumerate(verb) if item != verb[form] and (index, form) != (PARTICIPLE, ING)]
    return f"{subject} {auxiliary} {verb[form] if good else rng.choice(wrong)} {thing(rng)}"


def passive(rng: Random, good: bool) -> str:
    verb = rng.choice(vocabulary.TRANSITIVE)
    wrong = rng.choice([verb[BASE], verb[THIRD], verb[PAST]])
    return f"{thing(rng)} was {verb[PARTICIPLE] if good else wrong} by {person(rng)[0]} {rng.choice(vocabulary.TIMES)}"


def determiner(rng: Random, good: bool) -> str:
    """Test this and these, one and many, a and an."""
    one, many = rng.choice(vocabulary.THINGS)
    plural = rng.random() < 0.5
    word = (
        rng.choice(("these", "those", "many", "several", "two"))
        if plural
        else rng.choice(("this", "that", "every", "one"))
    )
    noun = many if plural == good else one
    return f"{person(rng)[0]} {rng.choice(vocabulary.TRANSITIVE)[PAST]} {word} {noun} {rng.choice(vocabulary.PLACES)}"


def question(rng: Random, good: bool) -> str:
    """Test inversion, verb form and gap of a wh-question."""
    verb, subject, time = rng.choice(vocabulary.TRANSITIVE), person(rng)[0], rng.choice(vocabulary.TIMES)
    if good:
        return f"what did {subject} {verb[BASE]} {time}?"
    return rng.choice(
        (
            f"what {subject} did {verb[BASE]} {time}?",
            f"what did {subject} {verb[PAST]} {time}?",
            f"what did {subject} {verb[BASE]} {thing(rng)} {time}?",
            f"what {subject} {verb[PAST]} {time}?",
        )
    )


def relative(rng: Random, good: bool) -> str:
    """Test a relative clause with a gap, or with a pronoun in it."""
    subject, other = person(rng)[0], person(rng)[0]
    verb, noun = rng.choice(vocabulary.TRANSITIVE), rng.choice(vocabulary.THINGS)[0]
    if rng.random() < 0.5:
        end = f"was {rng.choice(vocabulary.ADJECTIVES)}"
        return f"the {noun} that {subject} {verb[PAST]} {'' if good else 'it'} {end}"
    return f"{subject} who {'' if good else rng.choice(('he', 'they', 'she'))} {verb[PAST]} the {noun} saw {other}"


def argument(rng: Random, good: bool) -> str:
    """Test objects of transitive and intransitive verbs."""
    subject = person(rng)[0]
    if rng.random() < 0.6:
        verb = rng.choice(("slept", "arrived", "laughed", "disappeared", "smiled", "coughed", "sneezed", "existed"))
        return f"{subject} {verb} {'' if good else thing(rng)} {rng.choice(vocabulary.PLACES)}"
    verb = rng.choice(("devoured", "repaired", "mentioned", "locked", "destroyed", "found", "described"))
    return f"{subject} {verb} {thing(rng) if good else ''} {rng.choice(vocabulary.TIMES)}"


def polarity(rng: Random, good: bool) -> str:
    """Test ever and any, which need a preceding negative."""
    subject = rng.choice(
        ("nobody", "no king", "no student", "none of the girls")
        if good
        else ("somebody", "a king", "every student", "one of the girls")
    )
    verb = rng.choice(vocabulary.TRANSITIVE)[PARTICIPLE]
    return f"{subject} has ever {verb} {thing(rng)} {rng.choice(vocabulary.PLACES)}"


def comparison(rng: Random, good: bool) -> str:
    word, first, second = rng.choice(vocabulary.COMPARED), person(rng, False)[0], person(rng)[0]
    if good:
        return f"{first} is {rng.choice(('', 'much', 'a little'))} {word} than {second}"
    return (
        f"{first} is "
        + rng.choice((f"more {word} than", f"{word} as", f"{word} that", f"very {word} than"))
        + f" {second}"
    )


def coordination(rng: Random, good: bool) -> str:
    first, second, verb = person(rng)[0], person(rng)[0], rng.choice(vocabulary.INTRANSITIVE)[PAST]
    pairs = {"both": "and", "either": "or", "neither": "nor"}
    opening = rng.choice(list(pairs))
    link = (
        pairs[opening] if good else rng.choice([word for word in ("and", "or", "nor", "but") if word != pairs[opening]])
    )
    return f"{opening} {first} {link} {second} {verb} {rng.choice(vocabulary.TIMES)}"


def preposition(rng: Random, good: bool) -> str:
    return f"{person(rng, False)[0]} {rng.choice(vocabulary.GOVERNED)[not good]} {thing(rng)}"


def existential(rng: Random, good: bool) -> str:
    one, many = rng.choice(vocabulary.THINGS)
    if rng.random() < 0.5:
        subject, right, wrong = f"a {one}", "is", "are"
    else:
        subject, right, wrong = f"{rng.choice(('two', 'many', 'several'))} {many}", "are", "is"
    return f"there {right if good else wrong} {subject} {rng.choice(vocabulary.PLACES)}"


def case(rng: Random, good: bool) -> str:
    """Test he and him."""
    subject, thing_ = rng.choice((("he", "him"), ("she", "her"), ("they", "them"), ("we", "us"))), person(rng)[0]
    verb = rng.choice(("saw", "followed", "invited", "thanked", "met"))
    if rng.random() < 0.5:
        return f"{subject[not good]} {verb} {thing_} {rng.choice(vocabulary.PLACES)}"
    return f"{thing_} {verb} {subject[good]} {rng.choice(vocabulary.TIMES)}"


def complement(rng: Random, good: bool) -> str:
    """Test complements: wants to swim, enjoys swimming."""
    verb, subject, place = rng.choice(vocabulary.INTRANSITIVE), person(rng, False)[0], rng.choice(vocabulary.PLACES)
    with_to = rng.random() < 0.5
    form = f"to {verb[BASE]}" if with_to == good else verb[ING]
    return f"{subject} {rng.choice(vocabulary.WITH_TO if with_to else vocabulary.WITH_ING)} {form} {place}"


# Hard ones (agreement, a wrong preposition) are rarer, so that short training runs can learn something.
PATTERNS = (
    [verb_form, passive, case, relative] * 3
    + [question, argument, polarity] * 2
    + [agreement, reflexive, determiner, comparison, coordination, preposition, existential, complement]
)
# Several mistakes are detected after short training; single ones distinguish methods.
MISTAKES = ("own", "form", "own form", "own form", "own order", "form order", "own form order", "own form order")
