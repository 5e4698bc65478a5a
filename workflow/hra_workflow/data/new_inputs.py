"""A user's new inputs for predictions, and the table of predictions."""

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.wording import listed
from hra_workflow.data import subject_images, text_files, text_tables
from hra_workflow.data.file_filters import ENDINGS, is_image
from hra_workflow.data.row_problems import stop_at
from hra_workflow.data.sources import local


def table(path: str, columns: list[str], read: dict | None = None, endings: Sequence[str] = ()) -> dict[str, list]:
    """Read the columns of a file (CSV, TSV, JSON, JSON lines, Parquet); for one column also .txt, one input per line.

    columns: those that the run was trained on, which must contain texts. read: the settings for files with the
    `endings` of the training data.
    """
    file = Path(path)
    if file.suffix == ".txt" and len(columns) == 1:
        rows = text_files.read_lines(path, file, columns[0])
    else:
        read = read if file.suffix in endings else None
        rows = text_files.read(path, [file], read)
    like = f", or write the file like the training data, which is read with {read}" if read else ""
    rows.require(path, columns, f"Rename the columns to those of the training data{like}")
    texts = {name: text_tables.texts_of(path, rows, name) for name in columns}
    empty = ([row for row, text in enumerate(found) if text_tables.is_empty(text)] for found in texts.values())
    stop_at(path, *rows.broken, *map(partial(text_tables.no_text, rows), empty, texts))
    return rows.columns | texts


def images_in(path: str, least: int) -> dict[str, Path]:
    """Return an image file, or the images of a folder, by name.

    Raises JobError, before the model is loaded, unless all of them can be read and have `least` pixels per side.
    """
    folder = Path(path)
    found = {folder.name: folder}
    if folder.is_dir():
        every = local.visible(folder)
        found = {name: one for name, one in every.items() if is_image(name)}
        expect(
            bool(found),
            f"{path}: expected images that end in {ENDINGS}, found {listed(every) or 'none'}. Convert them, or correct "
            "the path.",
        )
    subject_images.check_sizes(found, least, path)
    return found


def write(path: str | Path, given: dict[str, list], predicted: dict[str, list]) -> None:
    """Write the columns of a user's table and the predicted ones as CSV; raise JobError if both have the same name."""
    if taken := [name for name in predicted if name in given]:
        raise JobError(f"expected inputs without a column {', '.join(taken)}, which predictions have. Rename it.")
    columns, text = given | predicted, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *zip(*columns.values(), strict=True)])
    files.write_text(path, text.getvalue())
