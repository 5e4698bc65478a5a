"""Prompt fidelity, measured in the pixels: does an image show the background, colours and place that its prompt names?

For images of one object on a plain background, as object_images.py makes them, and prompts in the words of its
captions. What a prompt does not name is not measured.
"""

import re
from collections.abc import Collection

import numpy

from common.demo.object_images import COLOURS, PLACES, REACH, SIZE
from common.evaluators.protocol import Evaluator, Needs, Reference, Scores

EDGE = 4  # pixels at the rim, most of them background in every picture
APART = 45  # of 255; how far from the background's colour, whatever the light, an object's pixel is
LIGHT = (0.75, 1.3)
DARK = 60  # of 255; a pixel that is darker in every channel has no colour
OBJECT = (0.02, 0.6)  # share of the picture


class PromptFidelity(Evaluator):
    """Fraction of what the prompt names that the image shows, for prompts that name anything that can be measured."""

    needs = Needs(prompts=True)

    def score(self, images: Collection, reference: Reference) -> Scores:
        correct = [
            list(checks(image, reference.class_prompts[index]).values())
            for image, index in zip(images, reference.prompt_index, strict=True)
        ]
        return Scores({"": [sum(one) / len(one) if one else None for one in correct]})


def checks(picture, prompt: str) -> dict[str, bool]:
    """Each thing that the prompt names (background, colours, place), and whether the picture shows it."""
    asked, seen = named(prompt), look(picture)
    right = {name: seen.get(name) == value for name, value in asked.items() if name != "colours"}
    if "colours" in asked:
        right["colours"] = set(seen["ranking"][: len(asked["colours"])]) == asked["colours"]
    return right


def named(prompt: str) -> dict:
    """What a prompt says that can be measured."""
    found = {}
    background = re.search(rf"({'|'.join(COLOURS)}) background", prompt)
    if background:
        found["background"] = background[1]
        prompt = prompt.replace(background[0], "")
    if place := next((place for place in PLACES if place in prompt), None):
        found["place"] = place
    if colours := {colour for colour in COLOURS if re.search(rf"\b{colour}\b", prompt)}:
        found["colours"] = colours
    return found


def look(picture) -> dict:
    """Of a PIL image: background, place of the object (none without an object), its colours, most frequent first."""
    pixels = numpy.asarray(picture.convert("RGB").resize((SIZE, SIZE)), float)
    inside = object_mask(pixels)
    found = {"background": next(iter(ranked(pixels[rim(pixels)])), None), "ranking": ranked(pixels[inside])}
    if is_object(inside):
        down, across = (numpy.median(line) + 0.5 - SIZE / 2 for line in numpy.nonzero(inside))
        anchors = {place: numpy.hypot(across - REACH * x, down - REACH * y) for place, (x, y) in PLACES.items()}
        found["place"] = min(anchors, key=anchors.get)
    return found


def is_object(inside: numpy.ndarray) -> bool:
    """Is a mask neither too small nor too large to be one?"""
    return OBJECT[0] < inside.mean() < OBJECT[1]


def rim(pixels: numpy.ndarray) -> numpy.ndarray:
    """The pixels (height, width) at the edge of a picture (height, width, 3)."""
    found = numpy.ones(pixels.shape[:2], bool)
    found[EDGE:-EDGE, EDGE:-EDGE] = False
    return found


def object_mask(pixels: numpy.ndarray) -> numpy.ndarray:
    """Pixels (height, width) of a picture (height, width, 3) that are not its rim's colour in more or less light."""
    behind = numpy.median(pixels[rim(pixels)], axis=0)
    light = numpy.clip(pixels @ behind / max(behind @ behind, 1), *LIGHT)
    return numpy.linalg.norm(pixels - light[..., None] * behind, axis=-1) > APART


def ranked(pixels: numpy.ndarray) -> list[str]:
    """Names of the colours that the pixels (N, 3) have, the most frequent first; brightness plays no part."""
    bright = pixels[pixels.max(axis=1, initial=0) >= DARK]
    palette = numpy.array(list(COLOURS.values()), float)
    hues, known = (part / part.max(axis=1, keepdims=True) for part in (bright, palette))
    nearest = numpy.linalg.norm(hues[:, None] - known, axis=-1).argmin(axis=1)
    votes = numpy.bincount(nearest, minlength=len(palette))
    return [list(COLOURS)[index] for index in numpy.argsort(-votes, kind="stable") if votes[index]]


def cut_out(image):
    """Crop an image to the square around its object, in its own pixels; the whole image where there is no object."""
    inside = object_mask(numpy.asarray(image.convert("RGB"), float))
    if not is_object(inside):
        return image
    rows, columns = numpy.nonzero(inside)
    side = int(max(numpy.ptp(rows), numpy.ptp(columns))) + 1
    left, top = (
        int(numpy.clip((line.min() + line.max() + 1 - side) // 2, 0, length - side))
        for line, length in zip((columns, rows), image.size, strict=True)
    )
    return image.crop((left, top, left + side, top + side))
