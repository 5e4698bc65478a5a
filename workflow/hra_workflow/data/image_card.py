"""What the card of a folder of photographs says: their number and sizes, and what is unusual about them."""

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
DARK = 16  # of 255: what the brightest pixel of a 12-bit image is, once its 16 bits are scaled to 8


def make_card(paths: dict[str, Path], resolution: int, folder: Path | None = None, images: int | None = None) -> dict:
    """Return `splits` and `warnings` of a subject's photographs, given by name.

    folder: where there may be others, in formats that are not used. images: their number, if it is known. Raises
    JobError unless there are that many, all can be read, and all have at least `resolution` pixels per side.
    """
    if images and len(paths) != images:
        raise JobError(
            f"expected {plural(images, 'image')}, one per caption, found {len(paths)}: {listed(sorted(paths))}. "
            "Correct `captions`, which are in this order."
        )
    sizes, seen = [], {}
    warnings = skipped(folder) if folder else []
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

    each(paths.items(), check, "images")
    return {"splits": {"images": {"rows": len(paths), "pixels": [min(sizes), max(sizes)]}}, "warnings": warnings}


def skipped(folder: Path) -> list[str]:
    """Warn of the images that are not used because of their ending, such as a telephone's HEIC among JPEGs."""
    found = others(folder)
    return [
        f"{plural(len(found), 'file')} skipped because of the ending: {listed(found)}. Convert to JPEG or PNG "
        f"(used: {USED})"
    ] * bool(found)


def others(folder: Path) -> list[str]:
    """Return the names of images in formats that are not used."""
    return [path.name for path in sorted(folder.rglob("*")) if path.suffix.lower() in OTHER_IMAGES and path.is_file()]


def unusual(image: Image.Image) -> Iterator[str]:
    """Describe an image in RGB that no photograph looks like: one colour, or nearly black."""
    extrema = image.getextrema()
    if all(low == high for low, high in extrema):
        yield "has a single colour"
    elif (brightest := max(high for _, high in extrema)) <= DARK:
        yield (
            f"is nearly black: its brightest value is {brightest} of 255, as of 12 bits stored in 16. If so, multiply "
            "its values by 16"
        )
