"""Conversion of a dataset's files from the publisher's layout to one {split}.parquet per split.

A split for classification has the text columns under their names and `label` (int64 class index, or float64 for a
regression); a split for a language model has `question` and `answer`; a split of general text has `text`. Rows are in
source order. Data that does not match the config's entry raises a JobError with file, line, column and value.

A dry run makes the same checks of the user's files (data_cards.py): no pandas here.
"""

import difflib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import listed
from hra_workflow.data.text_files import read
from hra_workflow.data.text_rows import Rows

ANSWERLESS_FRACTION = 0.01  # fraction of a training set; misread files have far more
NAMED, SHOWN = 20, 40  # invalid labels that an error lists, and characters of each
EMPTY_FRACTION = 1e-3  # fraction of a text column: real data has few empty texts, a misread file has many


@dataclass
class Split:
    """A checked split: the columns of its Parquet file, and the origin of its rows."""

    columns: dict[str, list]
    rows: Rows
    answers: list[str | None] | None = None  # the final answers of `answer`

    def __len__(self) -> int:
        return len(self.rows)


def read_splits(name: str, dataset: dict, folder: Path, gold: Callable[[str, str], str]) -> dict[str, Split]:
    """Read and check all splits of a dataset from its source's files in `folder`.

    `gold`: (style, text) -> the final answer of a text; ValueError if it has none.
    """
    return {split: checked_split(name, split, dataset, folder, gold) for split in dataset["splits"]}


def checked_split(name: str, split: str, dataset: dict, folder: Path, gold: Callable) -> Split:
    paths = dataset["splits"][split]
    where = f"{name}: split {split} ({', '.join(paths)})"
    stated, general = dataset["columns"], "answer" not in dataset and "label" not in dataset
    columns = stated if isinstance(stated, dict) else {column: column for column in stated}
    wanted = [*columns.values(), *([dataset["label"]] if "label" in dataset else [])]
    longest, first = dataset.get("max_characters"), dataset.get("take", {}).get(split)
    rows = read(where, [folder / path for path in paths], dataset.get("read"), wanted, None if longest else first)
    require_rows(where, len(rows) + rows.unread, dataset.get("rows", {}).get(split))
    rows.require(where, wanted)
    if longest:
        texts = zip(*(rows.columns[source] for source in columns.values()), strict=True)
        rows = rows.only([row for row, parts in enumerate(texts) if len(" ".join(map(str, parts))) <= longest])
        require_rows(f"{where}, max_characters {longest}", len(rows), None)
    rows = rows.head(first)
    converted = {column: texts_of(name, rows, source) for column, source in columns.items()}
    require_text(name, rows, {"text": ["".join(converted["text"])]} if general else converted)
    if general:
        return Split(converted, rows)  # empty rows separate paragraphs
    if "answer" in dataset:
        answers = answers_of(name, rows, converted["answer"], dataset["answer"], gold, all_of_them=split != "train")
        return Split(converted, rows, answers)
    return Split(converted | {"label": labels_of(name, rows, dataset["label"], dataset["labels"])}, rows)


def write(splits: dict[str, Split], out: Path) -> dict[str, int]:
    """Write `out/{split}.parquet` for every split; return their numbers of rows."""
    import pyarrow
    from pyarrow import parquet

    for name, split in splits.items():
        parquet.write_table(pyarrow.table(split.columns), out / f"{name}.parquet")
    return {name: len(split) for name, split in splits.items()}


def answers_of(
    name: str, rows: Rows, texts: list[str], style: str, gold: Callable, all_of_them: bool
) -> list[str | None]:
    """Return the final answers; raise JobError unless every text (in a training set, nearly every text) has one."""

    def answer(text: str) -> str | None:
        try:
            return gold(style, text)
        except ValueError:
            return None

    found = [answer(text) for text in texts]
    without = [row for row, one in enumerate(found) if one is None]
    if len(without) > (0 if all_of_them else ANSWERLESS_FRACTION * len(texts)):
        first = without[0]
        raise JobError(
            f"{name}: {rows.where(first)}: expected a final answer in the style {style!r}, found none in "
            f"…{texts[first][-80:]!r}; {len(without)} of {len(texts)} rows have none. Correct `answer` or `columns`."
        )
    return found


def require_rows(where: str, found: int, expected: int | None) -> None:
    if found == 0:
        raise JobError(f"{where}: no rows.")
    if expected is not None and found != expected:
        raise JobError(
            f"{where}: expected {expected} rows, found {found}. The file is truncated, a different version, or misread "
            "(a quote character can swallow lines: set `read: {quoting: 3}`)."
        )


def texts_of(name: str, rows: Rows, column: str) -> list[str]:
    """Return a text column; missing values become empty strings."""
    texts = ["" if value is None else value for value in rows.columns[column]]
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise JobError(
                f"{name}: {rows.where(row)}, column {column}: expected text, found {text!r}. Correct `columns`."
            )
    return texts


def is_empty(text: str) -> bool:
    return not text.strip()


def require_text(name: str, rows: Rows, texts: dict[str, list[str]]) -> None:
    """Raise JobError if a row has no text at all, or if too many texts are empty."""
    for row, values in enumerate(zip(*texts.values(), strict=True)):
        if all(map(is_empty, values)):
            raise JobError(
                f"{name}: {rows.where(row)}, column {' and '.join(texts)}: expected text, found none. "
                "Correct the file or `read`."
            )
    for column, column_texts in texts.items():
        empty = [row for row, text in enumerate(column_texts) if is_empty(text)]
        if len(empty) > EMPTY_FRACTION * len(column_texts):
            raise JobError(
                f"{name}: {rows.where(empty[0])}, column {column}: expected text, found none; it is empty in "
                f"{len(empty)} of {len(column_texts)} rows. Correct the file or `read`."
            )


def labels_of(name: str, rows: Rows, column: str, names: list[str] | None) -> list[float] | list[int]:
    """Convert labels to floats (names is None: regression) or to indices of `names`.

    A column has either names or indices, as fits more rows. If a name is a number that is also an index, the column has
    names.
    """
    found = rows.columns[column]
    values, by_name = [to_number(value) for value in found], False
    if names is None:
        labels = [value if math.isfinite(value) else None for value in values]
        wanted = "a finite number"
    else:
        indices, positions = ({key: index for index, key in enumerate(keys)} for keys in (range(len(names)), names))
        labels, wanted = [indices.get(value) for value in values], f"a class, 0 to {len(names) - 1} for {listed(names)}"
        named = [positions.get(value) if isinstance(value, str) else None for value in found]
        both = any(a is not None and b is not None for a, b in zip(labels, named, strict=True))
        texts = any(map(math.isnan, values)) and not any(index is not None for index in labels)
        if by_name := both or texts or named.count(None) < labels.count(None):
            labels, wanted = named, f"one of {listed(names)}"
    if None in labels:
        first = labels.index(None)
        wrong = Counter(str(value) for value, label in zip(found, labels, strict=True) if label is None)
        meant = difflib.get_close_matches(str(found[first]), names if by_name else [], 1)
        counts = listed((f"{value[:SHOWN]!r} {count}" for value, count in wrong.most_common()), NAMED)
        raise JobError(
            f"{name}: {rows.where(first)}, column {column}: expected {wanted}, found {found[first]!r}"
            f"{f' (is it {meant[0]!r}?)' if meant else ''}; {wrong.total()} of {len(labels)} labels are invalid"
            f"{f' ({counts})' * (len(wrong) > 1)}. Correct the file, or `label`, `labels` or `read`."
        )
    return labels


def to_number(value) -> float:
    """Return a number, or a text that is one, as a float; NaN for everything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
