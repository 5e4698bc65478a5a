"""Conversion of pixel values to 8 bits, using the range defined by the image mode or the array's type."""

import numpy
from PIL import Image

from common.core.errors import JobError


def to_8_bit(image: Image.Image, what: str) -> Image.Image:
    """Convert an image to 8 bits per channel: greyscale with 16 bits, or with floats in 0 to 1, is scaled to mode L.

    Pillow's own conversion clips both at 255. Raises JobError, which calls the image `what`, if the range is unknown.
    """
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(levels(numpy.asarray(image), f"{what}, an image of mode {image.mode}"))
    return image


def from_array(array: numpy.ndarray, what: str) -> Image.Image:
    """Convert an array, (height, width) or (height, width, 3), to RGB; raise JobError for other shapes and values."""
    what = f"{what}, an array of {array.dtype} with shape {array.shape}"
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if not (array.size and fits and array.dtype.kind in "buif"):
        raise JobError(f"{what}: expected numbers, (height, width) or (height, width, 3). Correct the function.")
    return Image.fromarray(levels(array, what)).convert("RGB")


def levels(values: numpy.ndarray, what: str) -> numpy.ndarray:
    """Scale to uint8, rounded: booleans and unsigned 8- and 16-bit integers from their range, floats from 0 to 1."""
    if values.dtype == numpy.uint8:
        return values
    kind, size = values.dtype.kind, values.dtype.itemsize
    top = {"b": 1, "u": 65535 if size == 2 else 0, "f": 1}.get(kind, 0)
    scaled = numpy.rint(values.astype(numpy.float64) * (255 / top)) if top else numpy.array(numpy.nan)
    if not ((scaled >= 0) & (scaled <= 255)).all():  # false for NaN
        found = f"{values.min()} to {values.max()}"
        raise JobError(
            f"{what}: expected 0 to 255 in 8 bits, 0 to 65535 in 16 bits or 0 to 1 in floats, found {found}. "
            "Scale it to one of these ranges."
        )
    return scaled.astype(numpy.uint8)
