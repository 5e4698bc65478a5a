"""Checks of a subject's images: their number, formats and sizes."""

from pathlib import Path

from hra_workflow.core.errors import expect
from hra_workflow.core.wording import listed, plural
from hra_workflow.data.file_filters import ENDINGS
from hra_workflow.data.images import load
from hra_workflow.data.row_problems import each


def check(paths: dict[str, Path], resolution: int, images: int | None = None) -> None:
    """Check images, given by name. images: the expected number, if known.

    Raises JobError if the number differs, if an image cannot be read, or if it has fewer than `resolution` pixels per
    side.
    """
    expect(
        images is None or len(paths) == images,
        f"expected {plural(images or 0, 'image')}, one per caption, found {len(paths)}: {listed(sorted(paths))}. "
        f"Correct `captions`, which are in this order; only files that end in {ENDINGS} are used",
    )
    check_sizes(paths, resolution, "images", ", or lower tasks.subject.resolution")


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
