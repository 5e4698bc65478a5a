"""Turn a dataset's files, as its publisher lays them out, into one {split}.parquet per split.

A split for classification has the text columns under their own names and `label`: int64 index of a class, or float64
for a regression; one for a language model has `question` and `answer`. Rows stand in source order. What does not fit
the config's entry is a JobError that names split, row and value.
"""

import json
import sys
import warnings
from pathlib import Path

from common.core.errors import JobError

ANSWERLESS_SHARE = 0.01  # of a training set: most of a misread one
EMPTY_SHARE = 1e-3  # of a text column: real data has a few empty texts, a misread file has many


def convert(name: str, dataset: dict, raw: Path, out: Path) -> dict[str, int]:
    """Write `out/{split}.parquet` for every split; return their numbers of rows."""
    import pyarrow
    from pyarrow import parquet

    rows = {}
    for split, paths in dataset["splits"].items():
        where = f"{name}: split {split} ({', '.join(paths)})"
        frame = read(where, [raw / path for path in paths], dataset.get("read"))
        require_rows(where, len(frame), dataset.get("rows", {}).get(split))
        frame = frame.head(dataset.get("take", {}).get(split))
        columns = dataset["columns"] if "answer" in dataset else {column: column for column in dataset["columns"]}
        require_columns(where, frame, [*columns.values(), *([dataset["label"]] if "label" in dataset else [])])
        converted = {column: texts_of(where, frame[source]) for column, source in columns.items()}
        require_text(where, converted)
        if "answer" in dataset:
            require_answers(where, converted["answer"], dataset["answer"], all_of_them=split != "train")
        else:
            converted["label"] = labels_of(where, frame[dataset["label"]], dataset["labels"])
        # Without pandas' own metadata: the bytes depend on the content and pyarrow alone.
        parquet.write_table(pyarrow.table(converted), out / f"{split}.parquet")
        rows[split] = len(frame)
    return rows


def read(where: str, paths: list[Path], options: dict | None):
    """The rows of all files; text files as strings, so that a sentence 'NA' or 'null' stays one."""
    import pandas

    frames = []
    for path in paths:
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
            reason = " ".join(str(problem).split())
            raise JobError(f"{where}: {path.name} does not read as {way}: {reason}. Correct `read`.") from problem
    return pandas.concat(frames, ignore_index=True)


def read_json(where: str, path: Path):
    """A list of objects (.json), or an object a line (.jsonl); no guessing of types."""
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
                f"{where}: {path.name}, line {place}: not JSON ({reason}): {line[:80]!r}. "
                "The file is cut off, or is of another format."
            ) from problem
        values += value if path.suffix == ".json" and isinstance(value, list) else [value]
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise JobError(f"{where}: {path.name}, row {number}: expected an object, got {str(value)[:80]!r}.")
    return pandas.DataFrame(values, dtype=object)


def require_answers(where: str, texts: list[str], style: str, all_of_them: bool) -> None:
    """The final answer is marked in every text; in a training set, in nearly every one."""
    from common.tasks.math import answers

    without = []
    for number, text in enumerate(texts, 1):
        try:
            answers.gold(style, text)
        except ValueError:
            without.append(number)
    if len(without) > (0 if all_of_them else ANSWERLESS_SHARE * len(texts)):
        raise JobError(
            f"{where}: {len(without)} of {len(texts)} rows have no final answer in the style {style!r}, first row "
            f"{without[0]}: …{texts[without[0] - 1][-80:]!r}. Correct `answer` or `columns`."
        )
    if without:
        print(f"{where}: {len(without)} of {len(texts)} rows have no final answer, kept as they are", file=sys.stderr)


def require_columns(where: str, frame, wanted: list[str]) -> None:
    found = [str(column) for column in frame.columns]
    if missing := [column for column in wanted if column not in found]:
        raise JobError(
            f"{where}: no column {', '.join(map(repr, missing))}; found {', '.join(map(repr, found))}. "
            "Correct `columns`, `label` or `read`."
        )


def require_rows(where: str, came: int, expected: int | None) -> None:
    if came == 0:
        raise JobError(f"{where}: no rows.")
    if expected is not None and came != expected:
        raise JobError(
            f"{where}: expected {expected} rows, {came} came. The file is cut or another version, or is misread "
            "(a quote character can swallow lines: `read: {quoting: 3}`)."
        )


def texts_of(where: str, column) -> list[str]:
    """A text column as a list of strings; nothing becomes the empty string."""
    texts = column.astype(object).where(column.notna(), "").tolist()
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise JobError(f"{where}, row {number}: {column.name} is {text!r}, not text. Correct `columns`.")
    return texts


def require_text(where: str, texts: dict[str, list[str]]) -> None:
    """No row without any text, and hardly a text that is empty."""
    count = len(next(iter(texts.values())))
    for number, row in enumerate(zip(*texts.values(), strict=True), 1):
        if not any(text.strip() for text in row):
            raise JobError(f"{where}, row {number}: {' and '.join(texts)} empty. Correct the file or `read`.")
    for column, values in texts.items():
        empty = [number for number, text in enumerate(values, 1) if not text.strip()]
        if len(empty) > EMPTY_SHARE * count:
            raise JobError(
                f"{where}: {column} is empty in {len(empty)} of {count} rows, first in row {empty[0]}. "
                "Correct the file or `read`."
            )
        if empty:
            print(f"{where}: {column} is empty in {len(empty)} of {count} rows, kept as they are", file=sys.stderr)


def labels_of(where: str, column, names: list[str] | None):
    """Labels as float64 (names is None: regression) or as int64 index into `names`; names themselves are taken too."""
    import numpy
    import pandas

    numbers = pandas.to_numeric(column, errors="coerce").to_numpy(dtype="float64", na_value=numpy.nan)
    if names is None:
        fits, wanted = numpy.isfinite(numbers), "a finite number"
    else:
        index = column.map({label: position for position, label in enumerate(names)})
        if index.notna().all():
            return index.to_numpy(dtype="int64")
        fits = (numbers >= 0) & (numbers < len(names)) & (numbers == numpy.floor(numbers))
        wanted = f"a class, 0 to {len(names) - 1} for {', '.join(names)}"
    if not fits.all():
        first = int(numpy.argmin(fits))
        raise JobError(
            f"{where}, row {first + 1}: label {column.iloc[first]!r} is not {wanted}; {int((~fits).sum())} of "
            f"{len(fits)} labels do not fit. Correct `label`, `labels` or `read`."
        )
    return numbers if names is None else numbers.astype("int64")
