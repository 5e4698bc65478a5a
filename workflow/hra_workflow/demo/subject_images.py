"""Synthetic DreamBooth subjects: objects with eyes, two colours and a band, unlike any pretraining image."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from hra_workflow.core.errors import JobError
from hra_workflow.demo import object_images
from hra_workflow.demo.object_images import COLOURS, Scene

BLACK = (20, 20, 25)


@dataclass(frozen=True)
class Subject:
    shape: str
    upper: str
    lower: str
    band: tuple[int, int, int]


# No half is green, blue or white: prompts may request these backgrounds for every subject.
SUBJECTS = {
    "jester-ball": Subject("ball", "purple", "yellow", COLOURS["red"]),
    "racing-box": Subject("box", "red", "yellow", BLACK),
    "harlequin-star": Subject("star", "yellow", "red", COLOURS["purple"]),
    "carnival-heart": Subject("heart", "red", "purple", COLOURS["yellow"]),
}


def scenes(name: str, count: int, seed: int = 0) -> list[Scene]:
    """Draw scenes of the subject in different positions and sizes, on backgrounds of other colours than its own."""
    if name not in SUBJECTS:
        raise JobError(f"subject: expected one of {', '.join(SUBJECTS)}, found {name!r}. Correct the source.")
    subject, rng = SUBJECTS[name], Random(f"subjects {name} {seed}")
    places = rng.sample(list(object_images.PLACES), len(object_images.PLACES))
    own = (COLOURS[subject.upper], COLOURS[subject.lower], subject.band)
    backgrounds = [colour for colour in COLOURS.values() if colour not in own]
    rng.shuffle(backgrounds)
    return [
        object_images.arranged(
            rng,
            Scene(
                shape=subject.shape,
                colour=COLOURS[subject.upper],
                lower=COLOURS[subject.lower],
                band=subject.band,
                eyes=True,
                texture="plain",
                place=places[index % len(places)],
                background=backgrounds[index % len(backgrounds)],
            ),
        )
        for index in range(count)
    ]


def write(folder: Path, rows: dict[str, int], subject: str, seed: int = 0) -> None:
    """Write the images of a subject: 00.png and so on."""
    from PIL import Image

    for index, scene in enumerate(scenes(subject, sum(rows.values()), seed)):
        Image.fromarray(object_images.picture(scene)[0]).save(folder / f"{index:02d}.png")
