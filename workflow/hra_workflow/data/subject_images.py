"""Checks of a subject's images: their number, formats and sizes."""

from pathlib import Path

from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.wording import listed, plural
from hra_workflow.data.file_filters import IMAGES, OTHER_IMAGES
from hra_workflow.data.images import load
from hra_workflow.data.row_problems import each

USED = " ".join(sorted(IMAGES))


def check(paths: dict[str, Path], resolution: int, folder: Path | None = None, images: int | None = None) -> None:
    """Check images, given by name.

    folder: the folder that may also contain images in formats that are not used. images: the expected number, if known.
    Raises JobError if the number differs, if an image cannot be read, or if it has fewer than `resolution` pixels per
    side.
    """
    unused = others(folder) if folder else []
    # In every error, since it may be the reason.
    also = f"\nAlso: {plural(len(unused), 'file')} skipped because of the ending: {listed(unused)}. Convert to JPEG or "
    also = f"{also}PNG (used: {USED})." * bool(unused)
    if images and len(paths) != images:
        raise JobError(
            f"expected {plural(images, 'image')}, one per caption, found {len(paths)}: {listed(sorted(paths))}. "
            f"Correct `captions`, which are in this order.{also}"
        )

    try:
        check_sizes(paths, resolution, "images", ", or lower tasks.subject.resolution")
    except JobError as problem:
        raise JobError(f"{problem}{also}") from problem


def check_sizes(paths: dict[str, Path], least: int, where: str, remedy: str = "") -> None:
    """Raise JobError, with all problems of `where`, unless every image can be read and has `least` pixels per side."""

    def check_one(path: Path) -> None:
        width, height = load(path).size
        expect(
            min(width, height) >= least,
            f"{path}: expected at least {least} × {least} pixels, found {width} × {height}. Provide a larger image"
            f"{remedy}.",
        )

    each(paths.values(), check_one, where)


def others(folder: Path) -> list[str]:
    """Return the names of images in formats that are not used, such as HEIC files among JPEGs."""
    return [path.name for path in sorted(folder.rglob("*")) if path.suffix.lower() in OTHER_IMAGES and path.is_file()]
