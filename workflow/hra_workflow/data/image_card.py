"""The data card of a folder of images: their number and sizes, and unusual properties."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.wording import listed, plural
from hra_workflow.data.file_filters import IMAGES, OTHER_IMAGES
from hra_workflow.data.images import load
from hra_workflow.data.row_problems import each

USED = " ".join(sorted(IMAGES))
FEWEST = 3
DARK = 16  # of 255: the brightest pixel of a 12-bit image after its 16 bits are scaled to 8


def make_card(paths: dict[str, Path], resolution: int, folder: Path | None = None, images: int | None = None) -> dict:
    """Return `splits` and `warnings` of a subject's images, given by name.

    folder: the folder that may also contain images in formats that are not used. images: the expected number, if known.
    Raises JobError if the number differs, if an image cannot be read, or if it has fewer than `resolution` pixels per
    side.
    """
    warnings = skipped(folder) if folder else []
    also = "".join(f"\nAlso: {warning}." for warning in warnings)  # in every error: may be the reason
    if images and len(paths) != images:
        raise JobError(
            f"expected {plural(images, 'image')}, one per caption, found {len(paths)}: {listed(sorted(paths))}. "
            f"Correct `captions`, which are in this order.{also}"
        )
    sizes, seen = [], {}
    if len(paths) < FEWEST:
        warnings.append(f"expected at least {FEWEST} images, found {len(paths)}: a model will learn little else of it")

    def check(named: tuple[str, Path]) -> None:
        name, path = named
        image = load(path)
        sizes.extend(image.size)
        expect(
            min(image.size) >= resolution,
            f"{path}: expected at least {resolution} × {resolution} pixels, found {image.width} × {image.height}. "
            "Provide a larger image, or lower tasks.subject.resolution.",
        )
        warnings.extend(f"{name} {problem}" for problem in unusual(image))
        first = seen.setdefault(hashlib.sha256(image.tobytes()).digest(), name)
        warnings.extend([f"{name} is the same image as {first}"] * (first != name))

    try:
        each(paths.items(), check, "images")
    except JobError as problem:
        raise JobError(f"{problem}{also}") from problem
    return {"splits": {"images": {"rows": len(paths), "pixels": [min(sizes), max(sizes)]}}, "warnings": warnings}


def skipped(folder: Path) -> list[str]:
    """Return a warning about images that are not used because of their format, such as HEIC files among JPEGs."""
    found = others(folder)
    return [
        f"{plural(len(found), 'file')} skipped because of the ending: {listed(found)}. Convert to JPEG or PNG "
        f"(used: {USED})"
    ] * bool(found)


def others(folder: Path) -> list[str]:
    """Return the names of images in formats that are not used."""
    return [path.name for path in sorted(folder.rglob("*")) if path.suffix.lower() in OTHER_IMAGES and path.is_file()]


def unusual(image: Image.Image) -> Iterator[str]:
    """Describe how an RGB image is unusual (one colour, or nearly black); None: it is not."""
    extrema = image.getextrema()
    if all(low == high for low, high in extrema):
        yield "has a single colour"
    elif (brightest := max(high for _, high in extrema)) <= DARK:
        yield (
            f"is nearly black: its brightest value is {brightest} of 255, as of 12 bits stored in 16. If so, multiply "
            "its values by 16"
        )
