"""One-sentence film reviews: the `sentiment` task.

A review is composed of positive or negative words whose polarity is kept or reversed by their context (negation,
contrast, reported opinion). The label is the sentiment of the sentence; in some sentences most words have the opposite
polarity.
"""

from random import Random

# Aspects of a film or book.
ASPECTS = (
    "the plot", "the acting", "the dialogue", "the camera work", "the music", "the ending", "the cast", "the script",
    "the pacing", "the humor", "the story", "the film", "the first half", "the romance", "the mystery", "the direction",
)  # fmt: skip
GOOD = (
    "brilliant", "charming", "moving", "witty", "gripping", "clever", "warm", "fresh", "superb", "delightful",
    "subtle", "funny", "inspired", "elegant", "graceful", "believable", "thoughtful", "tender", "exciting", "honest",
)  # fmt: skip
BAD = (
    "dull", "clumsy", "tedious", "lifeless", "shallow", "bland", "tired", "messy", "predictable", "awkward", "hollow",
    "stale", "forced", "confusing", "silly", "boring", "pretentious", "annoying", "lazy", "ridiculous",
)  # fmt: skip
GOOD_THINGS = ("a masterpiece", "a triumph", "a delight", "a joy", "a treat", "a gem", "a success", "a classic")
BAD_THINGS = ("a disaster", "a mess", "a bore", "a failure", "a chore", "a disgrace", "an insult", "a letdown")
GOOD_STUFF = ("charm", "wit", "warmth", "grace", "energy", "depth", "heart", "suspense", "imagination", "tenderness")
BAD_STUFF = (
    "cliches",
    "noise",
    "tedium",
    "confusion",
    "clumsiness",
    "vanity",
    "gloom",
    "stupidity",
    "padding",
    "flaws",
)
DEGREES = ("really", "truly", "quite", "very", "often", "remarkably", "always", "strangely", "undeniably", "simply")


def adjective(rng: Random, good: bool) -> str:
    return rng.choice(GOOD if good else BAD)


def kind_of_thing(rng: Random, good: bool) -> str:
    return rng.choice(GOOD_THINGS if good else BAD_THINGS)


def stuff(rng: Random, good: bool) -> str:
    return rng.choice(GOOD_STUFF if good else BAD_STUFF)


def plain(rng: Random, good: bool) -> str:
    """Make a claim whose words have its polarity."""
    return rng.choice(
        (
            f"is {rng.choice(DEGREES)} {adjective(rng, good)}",
            f"is {adjective(rng, good)} and {adjective(rng, good)}",
            f"is as {adjective(rng, good)} as it is {adjective(rng, good)}",
            f"is {kind_of_thing(rng, good)}",
            f"is full of {stuff(rng, good)}",
            f"could not be more {adjective(rng, good)}",
            f"is nothing less than {kind_of_thing(rng, good)}",
            f"is not without {stuff(rng, good)}",
        )
    )


def turned(rng: Random, good: bool) -> str:
    """Make a claim whose words have the opposite polarity."""
    return rng.choice(
        (
            f"is hardly {kind_of_thing(rng, not good)}",
            f"is anything but {adjective(rng, not good)}",
            f"is far from {adjective(rng, not good)}",
            f"is never {adjective(rng, not good)}",
            f"lacks any {stuff(rng, not good)}",
            f"is free of {stuff(rng, not good)}",
            f"fails to be {adjective(rng, not good)}",
            f"is by no means {kind_of_thing(rng, not good)}",
        )
    )


def claim(rng: Random, good: bool) -> str:
    return f"{rng.choice(ASPECTS)} {rng.choice((plain, plain, plain, turned))(rng, good)}"


def praise(rng: Random, good: bool) -> str:
    """Make two claims with the same polarity, in plain words."""
    first, second = rng.sample(ASPECTS, 2)
    return f"{first} {plain(rng, good)} and {second} {plain(rng, good)}"


def contrast(rng: Random, good: bool) -> str:
    """Make two claims with different polarity: the main clause, or the one after "but", decides."""
    decides, yields = claim(rng, good), claim(rng, not good)
    return rng.choice(
        (
            f"{yields}, but {decides}",
            f"although {yields}, {decides}",
            f"{decides}, even if {yields}",
            f"{decides} despite its {stuff(rng, not good)}",
            f"for all its {stuff(rng, not good)}, {decides}",
        )
    )


def opinion(rng: Random, good: bool) -> str:
    """Report an opinion of others, and whether it is true."""
    return rng.choice(
        (
            f"critics called it {adjective(rng, not good)}, and they were wrong",
            f"critics called it {adjective(rng, good)}, and they were right",
            f"I expected {kind_of_thing(rng, not good)} and got {kind_of_thing(rng, good)}",
            f"I got {kind_of_thing(rng, good)} where I expected {kind_of_thing(rng, not good)}",
            f"only a fool would call {rng.choice(ASPECTS)} {adjective(rng, not good)}",
            f"nobody could call {rng.choice(ASPECTS)} {adjective(rng, not good)}",
        )
    )


def verdict(rng: Random, good: bool) -> str:
    kind = rng.choices((praise, claim, contrast, opinion), (0.4, 0.3, 0.2, 0.1))[0]
    text = kind(rng, good)
    return text[0].upper() + text[1:] + "."
