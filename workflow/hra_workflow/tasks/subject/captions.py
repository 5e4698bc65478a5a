"""The texts of subjects: their names, and captions of training images and of images whose captions are prompts.

In the config's entry, `captions` has one caption per image, in the order of the files' names; `splits` has the numbers
of the held-out images. The captions of split `test` are the prompts of a subject without `prompts`: an image that is
generated from a caption is compared only with that caption's image.
"""

import re

from hra_workflow.core.errors import expect

TEST = "test"


def check(key: str, entry: dict) -> None:
    """Raise JobError unless a subject has prompts or captions of a test split, and an image to train on."""
    captions, held_out = entry.get("captions", []), numbers(entry)
    tested = TEST in entry.get("splits", {})
    expect(
        ("prompts" in entry) != tested,
        f"{key}: expected one of prompts, a list in tasks.subject.prompts, and splits.{TEST}, the images whose "
        f"captions are the prompts; found {'both' if tested else 'neither'}",
    )
    expect(captions or not held_out, f"{key}.splits: needs captions, one per image")
    last = len(captions) - 1
    for number in held_out:
        expect(number <= last, f"{key}.splits: expected numbers of images, 0 to {last}, found {number}")
        expect(held_out.count(number) == 1, f"{key}.splits: image {number} is listed twice")
    expect(not captions or len(held_out) <= last, f"{key}.splits: no image is left to train on")


def slug(noun: str) -> str:
    """Return a class name as a part of a path: `stuffed animal` -> `stuffed-animal`."""
    return re.sub(r"[^a-z0-9]+", "-", noun.lower()).strip("-")


def phrase(identifier: str | None, noun: str) -> str:
    """Return the words for a subject in a prompt or caption."""
    return f"{identifier} {noun}" if identifier else noun


def numbers(entry: dict) -> list[int]:
    """Return the numbers of the held-out images."""
    return [number for split in entry.get("splits", {}).values() for number in split]


def trained(entry: dict) -> list[str | None]:
    """Return the caption of every image, None for held-out ones; [] for a subject without captions."""
    held_out = numbers(entry)
    return [None if number in held_out else text for number, text in enumerate(entry.get("captions", ()))]


def tested(entry: dict) -> list[int] | None:
    """Return the number of the image that each prompt describes; None: the prompts describe no images."""
    return None if "prompts" in entry else entry["splits"][TEST]


def probe(entry: dict, images: int, prompts: int) -> dict:
    """Return an entry like this one for `images` generated images to train on, and as many more as its prompts need."""
    like = {key: entry[key] for key in ("class", "prompts") if key in entry}
    if "captions" not in entry:
        return like
    every = images if "prompts" in entry else images + prompts
    like["captions"] = [max(entry["captions"], key=len)] * every
    return like | ({"splits": {TEST: list(range(images, every))}} if every > images else {})
