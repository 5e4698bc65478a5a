"""Crop and resize images, control images and annotations to the central square, with `resolution` pixels per side.

Images are cropped whenever they are read; control images and annotations are stored cropped (data.py).
"""

import numpy
from PIL import Image


def middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the central square of an image of `size` (width, height): left, top, right, bottom, in pixels."""
    side = min(size)
    left, top = ((room - side) // 2 for room in size)
    return left, top, left + side, top + side


def square(picture: Image.Image, side: int, how=Image.Resampling.BILINEAR) -> Image.Image:
    """Crop an image to its central square and resize it to (side, side)."""
    return picture.resize((side, side), how, box=middle(picture.size))


def square_annotation(annotation: numpy.ndarray, size: tuple[int, int], side: int) -> numpy.ndarray:
    """Crop and resize classes (height, width) or points (N, 2) like their image of `size` (width, height)."""
    if annotation.dtype != float:
        return numpy.asarray(square(Image.fromarray(annotation), side, Image.Resampling.NEAREST))
    left, top, right, _ = middle(size)
    return (annotation - (left, top)) * (side / (right - left))
