"""The data card of a text dataset: rows, classes, empty cells and leaks."""

from collections import Counter
from dataclasses import dataclass

from hra_workflow.core.wording import listed
from hra_workflow.data import data_cards
from hra_workflow.data.data_cards import TRAIN
from hra_workflow.data.text_tables import Split, is_empty

LISTED = 1000  # maximum number of rows that a card names


@dataclass
class Examples:
    """The rows of a split as a model sees them.

    texts: the input of each row, all text columns or the question. keys: the same without differences in whitespace
    and case.
    """

    name: str
    split: Split
    texts: list[tuple[str, ...]]
    keys: list[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.keys)

    def where(self, row: int) -> str:
        return self.split.rows.where(row)


def examples_of(name: str, split: Split) -> Examples:
    columns = [values for column, values in split.columns.items() if column not in ("label", "answer")]
    texts = list(zip(*columns, strict=True))
    keys = [tuple(" ".join(text.split()).casefold() for text in row) for row in texts]
    return Examples(name, split, texts, keys)


def make_card(splits: dict[str, Split], dataset: dict) -> dict:
    """Return `splits` (counts by split) and `warnings` (sentences) of a dataset's checked splits."""
    splits = {name: splits[name] for name in data_cards.ordered(splits)}
    card = {name: {"rows": len(split)} for name, split in splits.items()}
    warnings: list[str] = []
    if not {"label", "answer"} & dataset.keys():
        return {"splits": card, "warnings": warnings}  # general text
    labels = dataset.get("labels")
    rows = {name: examples_of(name, split) for name, split in splits.items()}
    for name, these in rows.items():
        texts = [values for column, values in these.split.columns.items() if column != "label"]
        card[name]["characters"] = round(sum(len(text) for values in texts for text in values) / len(these))
        if labels:
            count = Counter(these.split.columns["label"])
            card[name]["classes"] = {label: count[index] for index, label in enumerate(labels)}
            if absent := [label for label, rows_of in card[name]["classes"].items() if not rows_of]:
                warnings.append(f"{name} has no row with the label {listed(map(repr, absent))}")
        warnings += incomplete(these, card[name])
        if name != TRAIN and TRAIN in rows:
            warnings += leaked(these, rows[TRAIN], card[name])
    return {"splits": card, "warnings": warnings}


def incomplete(rows: Examples, card: dict) -> list[str]:
    """Count empty cells and missing answers; text_tables accepts a few."""
    found = {}
    for column, values in rows.split.columns.items():
        if column != "label" and (empty := [row for row, text in enumerate(values) if is_empty(text)]):
            found[f"{column} is empty"] = empty
            card.setdefault("empty", {})[column] = len(empty)
    if without := [row for row, answer in enumerate(rows.split.answers or []) if answer is None]:
        found["there is no final answer"] = without
        card["answerless"] = len(without)
    return [
        f"{what} in {len(some):,} of {len(rows):,} rows of {rows.name}, the first: {rows.where(some[0])}"
        for what, some in found.items()
    ]


def leaked(rows: Examples, train: Examples, card: dict) -> list[str]:
    """Count the rows whose input is also in the training data: exactly, and after whitespace and case."""
    trained = dict(zip(reversed(train.keys), range(len(train) - 1, -1, -1), strict=True))  # the first of equal ones
    found = [row for row, key in enumerate(rows.keys) if key in trained]
    if not found:
        return []
    exact = {*train.texts}
    same = sum(rows.texts[row] in exact for row in found)
    pairs = [(rows.where(row), train.where(trained[rows.keys[row]])) for row in found]
    card |= {"in_train": len(found), "in_train_exactly": same, "in_train_items": found}
    card["in_train_rows"] = [list(pair) for pair in pairs[:LISTED]]
    how = "" if same == len(found) else f" ({same:,} exactly, the others but for whitespace and case)"
    return [
        f"{len(found):,} of {len(rows):,} rows of {rows.name} also occur in {train.name}{how}, so its scores do not "
        f"show how a model does on new data; the first: {pairs[0][0]}, and {pairs[0][1]}"
    ]
