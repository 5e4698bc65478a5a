"""Events described in several ways: the pair tasks `paraphrase` and `similarity`.

A Scene is the meaning; `tell` chooses one of its wordings; an edit changes the meaning but little of the wording.
"""

from dataclasses import dataclass, replace
from random import Random

from hra_workflow.demo import vocabulary


@dataclass(frozen=True)
class Scene:
    agent: tuple[str, ...]  # a row of vocabulary.ACTORS
    deed: tuple[str, ...]  # a row of vocabulary.DEEDS
    patient: tuple[str, ...]
    setting: str | None  # from vocabulary.SETTINGS
    day: tuple[int, int] | None  # day, month (from 0)
    number: int = 1  # of patients
    opposite: bool = False  # the deed's opposite
    unsure: bool = False  # stated with doubt


def scene(rng: Random) -> Scene:
    agent, patient = rng.sample(vocabulary.ACTORS, 2)
    has_setting, has_day = rng.choice(((True, False), (False, True), (True, True)))
    return Scene(
        agent,
        rng.choice(vocabulary.DEEDS),
        patient,
        rng.choice(vocabulary.SETTINGS) if has_setting else None,
        (rng.randrange(1, 29), rng.randrange(len(vocabulary.MONTHS))) if has_day else None,
        rng.choice((1, 1, 2, 3, 4, 5, 6, 7, 8, 9)),
    )


def noun(rng: Random, actor: tuple[str, ...], number: int) -> str:
    word = actor[rng.random() < 0.5]
    if number == 1:
        return f"the {word}"
    count = str(number) if rng.random() < 0.5 else vocabulary.NUMBERS[number - 2]
    return f"{count} {vocabulary.PLURALS.get(word, word + 's')}"


def tell(rng: Random, event: Scene) -> str:
    """Choose a wording of `event`: synonyms, active or passive, order of phrases, format of date and number."""
    agent = noun(rng, event.agent, 1)
    patient = noun(rng, event.patient, event.number)
    verb = event.deed[2] if event.opposite else event.deed[rng.random() < 0.5]
    adverb = (
        rng.choice(vocabulary.UNSURE) if event.unsure else rng.choice(vocabulary.SURE) if rng.random() < 0.4 else ""
    )
    if rng.random() < 0.4:
        be = "was" if event.number == 1 else "were"
        core = f"{patient} {be} {adverb} {vocabulary.PARTICIPLES.get(verb, verb)} by {agent}"
    else:
        core = f"{agent} {adverb} {verb} {patient}"
    day = None
    if event.day:
        number, month = event.day[0], vocabulary.MONTHS[event.day[1]]
        day = rng.choice((f"on {number} {month}", f"on {month} {number}"))
    phrases = [phrase for phrase in (event.setting, day) if phrase]
    if phrases and rng.random() < 0.4:
        front = phrases.pop(rng.randrange(len(phrases)))
        text = f"{front}, {core} {' '.join(phrases)}"
    else:
        rng.shuffle(phrases)
        text = f"{core} {' '.join(phrases)}"
    text = " ".join(text.split())
    return text[0].upper() + text[1:] + "."


def other(rng: Random, items, current):
    return rng.choice([item for item in items if item != current])


def other_actor(rng: Random, event: Scene) -> tuple[str, ...]:
    return rng.choice([actor for actor in vocabulary.ACTORS if actor not in (event.agent, event.patient)])


DAYS = [(day, month) for day in range(1, 29) for month in range(len(vocabulary.MONTHS))]
# The parts that can differ.
SLOTS = ("agent", "patient", "roles", "opposite", "unsure", "number", "setting", "day")


def edit(rng: Random, event: Scene, slot: str) -> Scene:
    """Change one slot of `event`; the wording may differ in only one word."""
    match slot:
        case "agent" | "patient":
            return replace(event, **{slot: other_actor(rng, event)})
        case "roles":
            return replace(event, agent=event.patient, patient=event.agent)
        case "opposite":
            return replace(event, opposite=not event.opposite)
        case "unsure":
            return replace(event, unsure=not event.unsure)
        case "number":
            return replace(event, number=other(rng, range(2, 10), event.number))
        case "setting":
            return replace(event, setting=other(rng, vocabulary.SETTINGS, event.setting))
        case "day":
            return replace(event, day=other(rng, DAYS, event.day))
    raise ValueError(slot)


def editable(event: Scene) -> list[str]:
    """List the slots that appear in the wording, so that a change is visible."""
    return [slot for slot in SLOTS if slot not in ("setting", "day") or getattr(event, slot) is not None]
