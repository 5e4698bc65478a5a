"""Conversion of a dataset's files from the publisher's layout to one {split}.parquet per split.

A split for classification has the text columns under their names and `label` (int64 class index, or float64 for a
regression); a split for a language model has `question` and `answer`. Rows are in
source order. Data that does not match the config's entry raises a JobError with file, line, column and value.

A dry run makes the same checks of the user's files (tasks/user_data.py): no pandas here (text_files.py).
"""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import listed, meant
from hra_workflow.data.row_problems import Problem, each, stop_at
from hra_workflow.data.text_files import read, stop_if_empty
from hra_workflow.data.text_rows import Rows

ANSWERLESS_FRACTION = 0.01  # fraction of a training set; misread files have far more
NAMED, SHOWN = 20, 40  # invalid labels that an error lists, and characters of each
EMPTY_FRACTION = 1e-3  # fraction of a text column: real data has few empty texts, a misread file has many


def read_splits(name: str, dataset: dict, folder: Path, gold: Callable[[str, str], str]) -> dict[str, dict[str, list]]:
    """Return the checked columns of all splits of a dataset, from its source's files in `folder`.

    `gold`: (style, text) -> the final answer of a text; ValueError with what was expected and found if it has none.
    """
    splits = each(dataset["splits"], lambda split: checked_split(name, split, dataset, folder, gold))
    return dict(zip(dataset["splits"], splits, strict=True))


def counts(splits: dict[str, dict[str, list]], dataset: dict) -> dict[str, dict]:
    """Return by split `rows`, their number, and `classes`, the number by label, if the dataset has labels."""
    found = {name: {"rows": len(next(iter(columns.values())))} for name, columns in splits.items()}
    for name, columns in splits.items() if dataset.get("labels") else ():
        of_class = Counter(columns["label"])
        found[name]["classes"] = {label: of_class[index] for index, label in enumerate(dataset["labels"])}
    return found


def checked_split(name: str, split: str, dataset: dict, folder: Path, gold: Callable) -> dict[str, list]:
    paths = dataset["splits"][split]
    where = f"{name}: split {split} ({', '.join(paths)})"
    stated = dataset["columns"]
    columns = stated if isinstance(stated, dict) else {column: column for column in stated}
    wanted = [*columns.values(), *([dataset["label"]] if "label" in dataset else [])]
    rows = read(where, [folder / path for path in paths], dataset.get("read"), wanted)
    count = len(rows) + len(rows.broken)
    if (expected := dataset.get("rows", {}).get(split)) not in (None, count):
        raise JobError(
            f"{where}: expected {expected} rows, found {count}. The file is truncated, a different version, or misread "
            "(a quote character can swallow lines: set `read: {quoting: 3}`)."
        )
    rows.require(where, wanted)
    if longest := dataset.get("max_characters"):
        texts = zip(*(rows.columns[source] for source in columns.values()), strict=True)
        rows = rows.only([row for row, parts in enumerate(texts) if len(" ".join(map(str, parts))) <= longest])
        stop_if_empty(f"{where}, max_characters {longest}", rows)
    if "shuffle" in dataset:
        rows = rows.shuffled(where, dataset["shuffle"])
    rows = rows.only(range(len(rows))[: dataset.get("take", {}).get(split)])
    converted = {column: texts_of(f"{name}, {split}", rows, source) for column, source in columns.items()}
    found: dict[str, list] = {}
    problems = empty_texts(rows, converted)
    if "answer" in dataset:
        texts, style = converted["answer"], dataset["answer"]
        problems.append(unanswered(rows, texts, style, gold, all_of_them=split != "train"))
    elif "label" in dataset:
        found["label"], unlabelled = labels_of(rows, dataset["label"], dataset["labels"])
        problems += unlabelled
    stop_at(f"{name}, {split}", *rows.broken, *problems)
    return converted | found


def write(splits: dict[str, dict[str, list]], out: Path) -> dict[str, int]:
    """Write `out/{split}.parquet` for every split; return their numbers of rows."""
    import pyarrow
    from pyarrow import parquet

    tables = {name: pyarrow.table(columns) for name, columns in splits.items()}
    for name, table in tables.items():
        parquet.write_table(table, out / f"{name}.parquet")
    return {name: table.num_rows for name, table in tables.items()}


def unanswered(rows: Rows, texts: list[str], style: str, gold: Callable, all_of_them: bool) -> Problem:
    """Return the rows without a final answer; of a training set, a few of these are no problem."""
    without: dict[int, ValueError] = {}
    for row, text in enumerate(texts):
        try:
            gold(style, text)
        except ValueError as problem:
            without[row] = problem
    return Problem(
        [*without] if len(without) > (0 if all_of_them else ANSWERLESS_FRACTION * len(texts)) else [],
        lambda row: f"{rows.where(row)}: {without[row]}",
        "Correct the file, or `answer` or `columns`.",
        f"{len(without)} of {len(texts)} rows have no final answer",
    )


def texts_of(where: str, rows: Rows, column: str) -> list[str]:
    """Return a text column, in which missing values become empty strings; raise JobError for other values."""
    texts = ["" if value is None else value for value in rows.columns[column]]
    others = [row for row, text in enumerate(texts) if not isinstance(text, str)]

    def describe(row: int) -> str:
        return f"{rows.where(row)}, column {column}: expected text, found {texts[row]!r}"

    if others:
        stop_at(where, *rows.broken, Problem(others, describe, "Correct `columns`."))
    return texts


def is_empty(text: str) -> bool:
    return not text.strip()


def empty_texts(rows: Rows, texts: dict[str, list[str]]) -> list[Problem]:
    """Return the rows that have no text at all, and the empty texts of the columns that have too many."""
    empty = {column: [row for row, text in enumerate(values) if is_empty(text)] for column, values in texts.items()}
    nothing = set.intersection(*map(set, empty.values()))
    problems = [no_text(rows, sorted(nothing), " and ".join(texts))]
    for column, found in empty.items():
        if len(found) > EMPTY_FRACTION * (every := len(texts[column])):
            total = f"{column} is empty in {len(found)} of {every} rows" if len(texts) > 1 else ""
            problems.append(no_text(rows, [row for row in found if row not in nothing], column, total))
    return problems


def no_text(rows: Rows, found: list[int], column: str, total: str = "") -> Problem:
    expected = f"column {column}: expected text, found none"
    return Problem(found, lambda row: f"{rows.where(row)}, {expected}", "Correct the file or `read`.", total)


def labels_of(rows: Rows, column: str, names: list[str] | None) -> tuple[list, list[Problem]]:
    """Convert labels to floats (names is None: regression) or to indices of `names`; also return the problems.

    Of classes, a value is a name if its text is one, in any format: JSON's 1 and Parquet's 1.0 are the name '1', true
    is the name 'true'. A column has either names or indices, as fits more rows; with one number that is both, it has
    names. If all values may be indices, a number (no text) that is a name and the index of another one is a problem.
    """
    found = rows.columns[column]
    values, by_name, both = [to_number(value) for value in found], False, []
    if names is None:
        labels = [value if math.isfinite(value) else None for value in values]
        wanted = "a finite number"
    else:
        indices, positions = ({key: index for index, key in enumerate(keys)} for keys in (range(len(names)), names))
        numbers = {number: index for index, name in enumerate(names) if math.isfinite(number := to_number(name))}
        labels, wanted = [indices.get(value) for value in values], f"a class, 0 to {len(names) - 1} for {listed(names)}"
        named = [
            next((positions[text] for text in spellings(value) if text in positions), numbers.get(number))
            for value, number in zip(found, values, strict=True)
        ]
        both = [row for row, pair in enumerate(zip(labels, named, strict=True)) if None not in pair]
        no_numbers = any(map(math.isnan, values)) and not any(index is not None for index in labels)
        if by_name := bool(both) or no_numbers or named.count(None) < labels.count(None):
            moved = [row for row in both if labels[row] != named[row] and not isinstance(found[row], str)]
            both = [] if None in labels else moved
            labels, wanted = named, f"one of {listed(names)}"

    def describe(row: int) -> str:
        suggested = meant(str(found[row]), names if by_name else [])
        return f"{rows.where(row)}, column {column}: expected {wanted}, found {found[row]!r}{suggested}"

    def describe_both(row: int) -> str:
        return (
            f"{rows.where(row)}, column {column}: expected a name or a position in `labels`, found {found[row]!r}, "
            f"which is the name {names[labels[row]]!r} and the position of {names[int(values[row])]!r}"
        )

    invalid = [row for row, label in enumerate(labels) if label is None]
    counts = Counter(str(found[row]) for row in invalid)
    each_value = listed((f"{value[:SHOWN]!r} {count}" for value, count in counts.most_common()), NAMED)
    total = f"{len(invalid)} of {len(labels)} labels are invalid{f' ({each_value})' * (len(counts) > 1)}"
    return labels, [
        Problem(invalid, describe, "Correct the file, or `label`, `labels` or `read`.", total),
        Problem(both, describe_both, "Store names as texts, in quotes; for positions, rename `labels` to words."),
    ]


def spellings(value) -> list[str]:
    """Return how a value may be written as a name; nothing for a missing one."""
    if isinstance(value, bool):
        return [str(value).lower(), str(value)]  # as JSON and as Python
    return [] if value is None else [str(value)]


def to_number(value) -> float:
    """Return a number, or a text that is one, as a float; NaN for everything else, such as true and '1_000'."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
