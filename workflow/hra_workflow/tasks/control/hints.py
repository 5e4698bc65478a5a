"""Control signals: functions that compute the control image from an image and its annotation, and their annotations.

A control signal is a function (image, annotation) -> RGB image of the same size (paper, Table 4). The image is RGB and
`resolution` pixels square.
"""

import csv
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.evaluators.edges import edges
from hra_workflow.evaluators.segmentation import CLASSES, IGNORED

COLOURS = Path(__file__).with_name("ade20k.csv")
CHANNELS = numpy.array([1 << 16, 1 << 8, 1])
TOLERANCE = 4  # below half of 10 levels: any two of ADE20K's colours differ by 10 in some channel (one pair by 5)


def canny(picture: Image.Image, annotation=None) -> Image.Image:
    """Compute white edges on black; the annotation is not used."""
    return Image.fromarray(edges(picture)).convert("RGB")


def landmarks(picture: Image.Image, annotation: numpy.ndarray) -> Image.Image:
    """Plot the points of one face, (68, 2) of x and y in image pixels, as white dots on black.

    Other numbers of points work too. Raises JobError for points of an image of another size. The dots are those of
    `plot_points` of the official eval_landmark.py.
    """
    import cv2

    points = annotation
    size = numpy.array(picture.size)
    if not ((points >= 0) & (points < size)).all(axis=1).mean() >= 0.5:
        raise JobError(
            f"landmarks: expected points inside the image ({picture.width} × {picture.height} pixels), found most "
            f"outside: x and y go up to {points.max(axis=0).round(1).tolist()}. Scale them with the image."
        )
    radius = max(int(min(picture.size) / 200), 1)
    drawn = numpy.zeros((picture.height, picture.width, 3), numpy.uint8)
    for x, y in points.astype(int).tolist():
        cv2.circle(drawn, (x, y), radius, (255, 255, 255), radius * 2)
    return Image.fromarray(drawn)


def segmentation(picture: Image.Image, annotation: numpy.ndarray) -> Image.Image:
    """Plot the classes of `classes`, (height, width), in ADE20K's colours; pixels without a class are black."""
    shown = numpy.vstack([palette(), numpy.zeros((IGNORED - CLASSES + 1, 3), numpy.uint8)])
    return Image.fromarray(shown[annotation])


HINTS: dict[str, Callable] = {"canny": canny, "landmarks": landmarks, "segmentation": segmentation}


def classes(path) -> numpy.ndarray:
    """Read a label map of ADE20K, a path or an open file, as classes, (height, width) of 0 to 149 and IGNORED.

    In the file, 1 to 150 are the classes, 0 is no class and 255 padding (objectInfo150.txt of CSAIL's sceneparsing);
    mmsegmentation calls this conversion `reduce_zero_label`.
    """
    with images.decode(path) as image:
        values = numpy.asarray(image)
    if values.ndim != 2 or values.dtype == bool:
        raise JobError(f"{path}: expected a label map with one class per pixel, found mode {image.mode}. Convert it.")
    if strange := numpy.setdiff1d(values, [*range(CLASSES + 1), IGNORED]).tolist():
        raise JobError(
            f"{path}: expected ADE20K's labels 0 (none) to {CLASSES} and {IGNORED} (padding), found "
            f"{', '.join(map(str, strange[:8]))}. Check whether it is a label map of another dataset."
        )
    return numpy.where(values == 0, IGNORED, numpy.where(values == IGNORED, IGNORED, values - 1)).astype(numpy.uint8)


def classes_of_colours(path) -> tuple[numpy.ndarray, dict[str, float]]:
    """Read an image in ADE20K's colours, a path or an open file, as classes: the inverse of `segmentation`.

    Any other colour is the nearest class within TOLERANCE levels per channel, otherwise no class; also returns these
    colours of no class with their fraction of the pixels. Road and skyscraper have the same colour, which is read as
    road: usable for control images, not for evaluation.
    """
    from scipy.spatial import cKDTree

    with images.decode(path) as image:
        colours = numpy.asarray(images.to_8_bit(image, str(path)).convert("RGB"), numpy.int32)
    numbers, place, times = numpy.unique(colours @ CHANNELS, return_inverse=True, return_counts=True)
    known, first = numpy.unique(numpy.vstack([palette(), [[0, 0, 0]]]), axis=0, return_index=True)
    _, nearest = cKDTree(known).query(
        numbers[:, None] // CHANNELS % 256, p=numpy.inf, distance_upper_bound=TOLERANCE + 0.5
    )
    classes = numpy.append(numpy.where(first < CLASSES, first, IGNORED), IGNORED)[nearest].astype(numpy.uint8)
    unknown = nearest == len(known)
    fractions = times[unknown] / times.sum()
    return classes[place].reshape(colours.shape[:2]), {
        f"#{number:06x}": float(one) for number, one in zip(numbers[unknown], fractions, strict=True)
    }


def points(path, count: int = 68) -> numpy.ndarray:
    """Read the landmarks of one face, (count, 2) in pixels, from lines `x y` as in CelebA-HQ; path or open file."""
    try:
        text = Path(path).read_text() if isinstance(path, str | Path) else path.read().decode()
        found = numpy.array([line.split() for line in text.splitlines() if line.strip()], float)
    except ValueError as problem:
        raise JobError(f"{path}: expected lines of two numbers ({problem}). Correct the file.") from problem
    if found.shape != (count, 2):
        raise JobError(
            f"{path}: expected {count} lines of x and y, the landmarks of one face, found {found.shape[0]} lines. "
            "Exclude images without a face; keep one face of several."
        )
    return check_pixels(found, str(path))


def check_pixels(points: numpy.ndarray, what: str) -> numpy.ndarray:
    """Return points (N, 2); raise JobError for values that are not finite, and for other units than pixels."""
    if not numpy.isfinite(points).all():
        wrong = int(numpy.nonzero(~numpy.isfinite(points).all(axis=1))[0][0])
        raise JobError(
            f"{what}: expected landmarks in pixels, found {points[wrong].tolist()} for point {wrong + 1}. "
            "Exclude images without a complete face."
        )
    if numpy.abs(points).max() <= 2:  # no face has two pixels; normalised points may be slightly outside of the image
        raise JobError(
            f"{what}: expected landmarks in pixels, found x and y between {points.min():.3g} and {points.max():.3g}, "
            "as if normalised by the image size. Multiply x by its width and y by its height."
        )
    return points


@cache
def palette() -> numpy.ndarray:
    """Return ADE20K's colours, (150, 3) of uint8, as in CSAIL's color150.mat and mmsegmentation."""
    with open(COLOURS, newline="") as stream:
        rows = list(csv.DictReader(stream))
    return numpy.array([[int(row[channel]) for channel in ("red", "green", "blue")] for row in rows], numpy.uint8)
