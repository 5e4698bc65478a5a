"""Conversion of a dataset's files from the publisher's layout to one {split}.parquet per split.

A split for classification has the text columns under their own names and `label` (int64 class index, or float64 for a
regression); a split for a language model has `question` and `answer`, one of general text `text`. Rows are in
source order. Data that does not match the config's entry is a JobError that names split, row and value.
"""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core.errors import JobError

ANSWERLESS_FRACTION = 0.01  # of a training set; misread files have far more
SEPARATORS = {".csv": ",", ".tsv": "\t"}
EMPTY_FRACTION = 1e-3  # of a text column: real data has a few empty texts, a misread file has many


def convert(name: str, dataset: dict, raw: Path, out: Path, gold: Callable[[str, str], str]) -> dict[str, int]:
    """Write `out/{split}.parquet` for every split; return their numbers of rows.

    `gold`: (style, text) -> the final answer of a text; ValueError if it has none.
    """
    import pyarrow
    from pyarrow import parquet

    rows = {}
    for split, paths in dataset["splits"].items():
        where = f"{name}: split {split} ({', '.join(paths)})"
        frame = read(where, [raw / path for path in paths], dataset.get("read"))
        require_rows(where, len(frame), dataset.get("rows", {}).get(split))
        frame = frame.head(dataset.get("take", {}).get(split))
        stated, general = dataset["columns"], "answer" not in dataset and "label" not in dataset
        columns = stated if isinstance(stated, dict) else {column: column for column in stated}
        require_columns(where, frame, [*columns.values(), *([dataset["label"]] if "label" in dataset else [])])
        converted = {column: texts_of(where, frame[source]) for column, source in columns.items()}
        require_text(where, {"text": ["".join(converted["text"])]} if general else converted)
        if general:
            pass  # empty rows separate paragraphs
        elif "answer" in dataset:
            require_answers(where, converted["answer"], dataset["answer"], gold, all_of_them=split != "train")
        else:
            converted["label"] = labels_of(where, frame[dataset["label"]], dataset["labels"])
        # Without pandas' own metadata, so that the bytes depend only on the content and pyarrow.
        parquet.write_table(pyarrow.table(converted), out / f"{split}.parquet")
        rows[split] = len(frame)
    return rows


def read(where: str, paths: list[Path], stated: dict | None):
    """Read the rows of all files; text files as strings, so that a sentence 'NA' or 'null' is kept.

    JSON by its suffix; otherwise with the arguments of `read_csv` that are stated; without these, .csv and .tsv by
    their suffix, and parquet.
    """
    import pandas

    frames = []
    for path in paths:
        options = stated
        if path.suffix in SEPARATORS and not {"sep", "delimiter"} & {*(stated or {})}:
            options = {"sep": SEPARATORS[path.suffix]} | (stated or {})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pandas.errors.ParserWarning)  # a line with more fields than columns
                if path.suffix in (".json", ".jsonl"):
                    frames.append(read_json(where, path))
                elif options is None:
                    frames.append(pandas.read_parquet(path))
                else:
                    frames.append(pandas.read_csv(path, dtype=str, keep_default_na=False, index_col=False, **options))
        except FileNotFoundError as problem:
            raise JobError(f"{where}: the source has no {path.name}. Correct `splits`.") from problem
        except (ValueError, pandas.errors.ParserWarning) as problem:  # ParserError, ArrowInvalid, bad UTF-8
            way = "parquet" if options is None else f"text with `read: {options}`"
            remedy = "Correct `read`" if options else "Name it .csv, .tsv, .json, .jsonl or .parquet, or state `read`"
            reason = " ".join(str(problem).split())
            raise JobError(f"{where}: {path.name} cannot be read as {way}: {reason}. {remedy}.") from problem
    return pandas.concat(frames, ignore_index=True)


def read_json(where: str, path: Path):
    """Read a list of objects (.json) or one object per line (.jsonl), without type inference."""
    import pandas

    text = path.read_text(encoding="utf-8")
    lines = enumerate(text.splitlines(), 1) if path.suffix == ".jsonl" else [(1, text)]
    values = []
    for number, line in lines:
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as problem:
            place, reason = number + getattr(problem, "lineno", 1) - 1, getattr(problem, "msg", problem)
            raise JobError(
                f"{where}: {path.name}, line {place}: expected JSON, found {line[:80]!r} ({reason}). "
                "The file is truncated or has another format: replace it."
            ) from problem
        values += value if path.suffix == ".json" and isinstance(value, list) else [value]
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise JobError(f"{where}: {path.name}, row {number}: expected an object, found {str(value)[:80]!r}.")
    return pandas.DataFrame(values, dtype=object)


def require_answers(where: str, texts: list[str], style: str, gold: Callable, all_of_them: bool) -> None:
    """Raise JobError unless every text (in a training set, nearly every text) has a marked final answer."""
    without = []
    for number, text in enumerate(texts, 1):
        try:
            gold(style, text)
        except ValueError:
            without.append(number)
    if len(without) > (0 if all_of_them else ANSWERLESS_FRACTION * len(texts)):
        raise JobError(
            f"{where}: {len(without)} of {len(texts)} rows have no final answer in the style {style!r}, first row "
            f"{without[0]}: …{texts[without[0] - 1][-80:]!r}. Correct `answer` or `columns`."
        )
    if without:
        print(f"{where}: {len(without)} of {len(texts)} rows have no final answer; they are kept", file=sys.stderr)


def require_columns(where: str, frame, wanted: list[str]) -> None:
    found = [str(column) for column in frame.columns]
    if missing := [column for column in wanted if column not in found]:
        raise JobError(
            f"{where}: expected the column {', '.join(map(repr, missing))}, found {', '.join(map(repr, found))}. "
            "Correct `columns`, `label` or `read`."
        )


def require_rows(where: str, found: int, expected: int | None) -> None:
    if found == 0:
        raise JobError(f"{where}: no rows.")
    if expected is not None and found != expected:
        raise JobError(
            f"{where}: expected {expected} rows, found {found}. The file is truncated, a different version, or misread "
            "(a quote character can swallow lines: set `read: {quoting: 3}`)."
        )


def texts_of(where: str, column) -> list[str]:
    """Convert a text column to a list of strings; missing values become empty strings."""
    texts = column.astype(object).where(column.notna(), "").tolist()
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise JobError(f"{where}, row {number}: {column.name}: expected text, found {text!r}. Correct `columns`.")
    return texts


def require_text(where: str, texts: dict[str, list[str]]) -> None:
    """Raise JobError if a row has no text at all, or if too many texts are empty."""
    count = len(next(iter(texts.values())))
    for number, row in enumerate(zip(*texts.values(), strict=True), 1):
        if not any(text.strip() for text in row):
            raise JobError(f"{where}, row {number}: {' and '.join(texts)} empty. Correct the file or `read`.")
    for column, values in texts.items():
        empty = [number for number, text in enumerate(values, 1) if not text.strip()]
        if len(empty) > EMPTY_FRACTION * count:
            raise JobError(
                f"{where}: {column} is empty in {len(empty)} of {count} rows, first in row {empty[0]}. "
                "Correct the file or `read`."
            )
        if empty:
            print(f"{where}: {column} is empty in {len(empty)} of {count} rows; they are kept", file=sys.stderr)


def labels_of(where: str, column, names: list[str] | None):
    """Convert labels to float64 (names is None: regression) or to an int64 index into `names`.

    A column has either names or indices: whichever fits more rows, or names if a name is a number that is also an
    index.
    """
    import numpy
    import pandas

    labels = pandas.to_numeric(column, errors="coerce").to_numpy(dtype="float64", na_value=numpy.nan)
    if names is None:
        fits, wanted = numpy.isfinite(labels), "a finite number"
    else:
        fits = (labels >= 0) & (labels < len(names)) & (labels == numpy.floor(labels))
        wanted = f"a class, 0 to {len(names) - 1} for {', '.join(names)}"
        named = column.map({label: position for position, label in enumerate(names)}).to_numpy(dtype="float64")
        is_name = ~numpy.isnan(named)
        if (is_name & fits).any() or is_name.sum() > fits.sum():
            labels, fits, wanted = named, is_name, f"one of {', '.join(names)}"
    if not fits.all():
        first = int(numpy.argmin(fits))
        raise JobError(
            f"{where}, row {first + 1}: label {column.iloc[first]!r} is not {wanted}; {int((~fits).sum())} of "
            f"{len(fits)} labels are invalid. Correct the row, or `label`, `labels` or `read`."
        )
    return labels if names is None else labels.astype("int64")
