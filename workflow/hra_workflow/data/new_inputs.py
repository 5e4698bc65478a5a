"""New inputs to predict from, as a user has them, and the table of predictions."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.wording import listed
from hra_workflow.data import image_card, images, text_files, text_tables


def table(path: str, columns: list[str], read: dict | None = None, endings: Sequence[str] = ()) -> dict[str, list]:
    """Read the columns of a file (CSV, TSV, JSON, JSON lines, parquet); with one column also .txt, an input per line.

    columns: those that the run was trained on, which must contain texts. read: how files with the `endings` of the
    training data are read.
    """
    file = Path(path)
    if file.suffix == ".txt" and len(columns) == 1:
        rows = text_files.read_lines(path, file, columns[0])
    else:
        read = read if file.suffix in endings else None
        rows = text_files.read(path, [file], read)
    text_tables.require_rows(path, len(rows), None)
    if missing := [name for name in columns if name not in rows.columns]:
        raise JobError(
            f"{path}: expected the column{'s' * (len(missing) > 1)} {' and '.join(missing)}, on which the run was "
            f"trained, found {', '.join(rows.columns)}. Rename the columns"
            + (f", or write the file like the training data: it is read with {read}." if read else ".")
        )
    for name in columns:
        texts = text_tables.texts_of(path, rows, name)
        empty = [row for row, text in enumerate(texts) if text_tables.is_empty(text)]
        expect(not empty, f"{rows.where((empty or [0])[0])}: {name} is empty. Fill it in, or remove the row.")
        rows.columns[name] = texts
    return rows.columns


def images_in(path: str) -> dict[str, Path]:
    """Return an image file, or those of a folder, by their names in it; JobError for images that cannot be read."""
    folder = Path(path)
    if folder.is_file():
        return {folder.name: folder}
    if others := image_card.others(folder):
        raise JobError(
            f"{path}: expected images that end in {image_card.USED}, found {listed(others)}. Convert or move them."
        )
    return {str(one.relative_to(folder)): one for one in images.listed(folder)}


def write(path: str | Path, given: dict[str, list], predicted: dict[str, list]) -> None:
    """Write the columns of a user's table and the predicted ones as CSV; JobError if one of these is taken."""
    if taken := [name for name in predicted if name in given]:
        raise JobError(f"expected inputs without a column {', '.join(taken)}, which predictions have. Rename it.")
    columns, text = given | predicted, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *zip(*columns.values(), strict=True)])
    files.write_text(path, text.getvalue())
