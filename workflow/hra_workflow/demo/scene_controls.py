"""Annotations of the control tasks, exact for synthetic scenes, and detectors that measure them in such images.

There are two classes (background and object) and five points: the centre of the object's box, then its left, right,
upper and lower edge. `ObjectMask` and `ObjectPoints` measure them like evaluators/segmentation.py and landmarks.py do
in real images.
"""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy
from PIL import Image

from hra_workflow.data import images
from hra_workflow.demo import object_images, prompt_fidelity
from hra_workflow.demo.object_images import Scene
from hra_workflow.evaluators.landmarks import Landmarks
from hra_workflow.evaluators.protocol import Needs
from hra_workflow.evaluators.segmentation import Segmenter

# ADE20K's sky and person, whose colours are far apart; the first two classes differ only in a shade of red.
BACKGROUND, OBJECT = 2, 12


def annotation(scene: Scene) -> dict[str, numpy.ndarray]:
    """Compute `classes` (64, 64) of uint8 and `points` (5, 2) of x and y in pixels from the scene's exact mask."""
    inside = object_images.picture(scene)[1] >= 128
    return {"classes": classes(inside), "points": points(inside)}


def classes(inside: numpy.ndarray) -> numpy.ndarray:
    return numpy.where(inside, OBJECT, BACKGROUND).astype(numpy.uint8)


def points(inside: numpy.ndarray) -> numpy.ndarray:
    """Compute the points (5, 2) of the object's box from its mask (height, width), with pixel centres at 0.5."""
    down, across = numpy.nonzero(inside)
    left, right = across.min(), across.max() + 1
    top, bottom = down.min(), down.max() + 1
    x, y = (left + right) / 2, (top + bottom) / 2
    return numpy.array([(x, y), (left, y), (right, y), (x, top), (x, bottom)], float)


def mask(picture: Image.Image) -> numpy.ndarray:
    """Find the object's pixels (height, width) in an image: those that differ from the colour at its border."""
    return prompt_fidelity.object_mask(numpy.asarray(picture.convert("RGB"), float))


class ObjectMask(Segmenter):
    """mIoU, mAcc and aAcc of background and object."""

    needs = Needs(images="source", annotation=("classes", "colours"))

    def classes(self, pictures: list[Image.Image]) -> list[numpy.ndarray]:
        return [classes(mask(picture)) for picture in pictures]


def largest_part(inside: numpy.ndarray) -> numpy.ndarray:
    """Return the largest connected part of a mask, so that stray pixels do not enlarge the object's box."""
    from scipy import ndimage

    parts, _ = ndimage.label(inside)
    sizes = numpy.bincount(parts.ravel())[1:]
    return parts == sizes.argmax() + 1 if len(sizes) else inside


class ObjectPoints(Landmarks):
    """Distance of the object's five points."""

    needs = Needs(images="source", annotation=("object-points",))

    def faces(self, picture: Image.Image) -> list[numpy.ndarray]:
        """Return the points of the object, or none if the foreground is too small or too large to be an object."""
        inside = largest_part(mask(picture))
        return [points(inside)] if prompt_fidelity.is_object(inside) else []


def write(folder: Path, rows: dict[str, int], seed: int = 0) -> None:
    """Write `scenes.zip` with color/, classes/ and points/ of every scene, and {split}.jsonl with the captions.

    Classes are as in ADE20K's label maps, in which 0 means no class. Two splits, or two seeds, have different scenes.
    """
    with zipfile.ZipFile(folder / "scenes.zip", "w") as archive:
        for split, count in rows.items():
            rng = Random(f"controls {seed} {split}")
            lines = []
            for index in range(count):
                scene = object_images.scene(rng)
                found, name = annotation(scene), f"{split}/{{}}/{index}"
                for kind, array in (("color", object_images.picture(scene)[0]), ("classes", found["classes"] + 1)):
                    add(archive, f"{name.format(kind)}.png", images.to_png(Image.fromarray(array)))
                add(archive, f"{name.format('points')}.txt", coordinates(found["points"]))
                # Only the hint specifies the position of the object.
                prompt = object_images.caption(replace(scene, place=""), rng)
                lines.append(json.dumps({"image": f"{index}.png", "prompt": prompt}))
            (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def coordinates(points: numpy.ndarray) -> bytes:
    """Format points (N, 2) as lines `x y`, as read by hints.points."""
    return "".join(f"{x} {y}\n" for x, y in points.tolist()).encode()


def add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Without today's date, so that identical scenes give byte-identical files.
    archive.writestr(zipfile.ZipInfo(name), content)
