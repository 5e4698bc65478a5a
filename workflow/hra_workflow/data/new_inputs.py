"""New inputs to predict from, as a user has them, and the predictions as a table next to them."""

from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError, expect
from hra_workflow.data import text_tables


def table(path: str, columns: list[str], read: dict | None = None, endings: tuple[str, ...] | list[str] = ()):
    """Read a user's file (CSV, TSV, JSON, JSON lines, parquet), or with one column a .txt file with an input per line.

    columns: those that the run was trained on, which must contain texts. read: how files with the `endings` of the
    training data are read.
    """
    import pandas

    file = Path(path)
    if file.suffix == ".txt" and len(columns) == 1:
        frame = pandas.DataFrame({columns[0]: list(filter(str.strip, file.read_text().splitlines()))}, dtype=object)
    else:
        frame = text_tables.read(path, [file], read if file.suffix in endings else None)
    text_tables.require_rows(path, len(frame), None)
    known = [str(name) for name in frame.columns]
    if missing := [name for name in columns if name not in known]:
        raise JobError(
            f"{path}: expected the column{'s' * (len(missing) > 1)} {' and '.join(missing)}, on which the run was "
            f"trained, found {', '.join(known)}. Rename the columns."
        )
    for name in columns:
        frame[name] = text_tables.texts_of(path, frame[name])
        empty = [row for row, text in enumerate(frame[name], 1) if not text.strip()]
        expect(not empty, f"{path}, row {(empty or [0])[0]}: {name} is empty. Fill it in, or remove the row.")
    return frame


def write(path: str | Path, frame, predicted: dict[str, list]) -> None:
    """Write the rows of a user's table with the predicted columns; JobError if one of these is taken."""
    if taken := [name for name in predicted if name in frame.columns]:
        raise JobError(f"expected inputs without a column {', '.join(taken)}, which predictions have. Rename it.")
    text = frame.assign(**predicted).to_csv(index=False, lineterminator="\n")
    files.write_text(path, text)
