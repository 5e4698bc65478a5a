"""Rows of a training set that are also in a benchmark of another dataset: a card per pair, next to the training set's.

A pair is (manifest of the training set, manifest of the other dataset, its split); both contain questions.
"""

from collections.abc import Iterable
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.data import data_cards, text_card
from hra_workflow.data.text_rows import Rows
from hra_workflow.data.text_tables import Split


def path_of(train: str, reported: str, split: str) -> Path:
    place = data_cards.path_of(train)
    return place.with_name(f"{data_cards.name_of(train)}.{data_cards.name_of(reported)}.{split}.card.json")


def warnings(pairs: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return the warnings of all pairs, of which the downloaded ones are read if their card is outdated."""
    return [
        f"{data_cards.name_of(train)}: {warning}"
        for train, reported, split in pairs
        for warning in card(train, reported, split).get("warnings", [])
    ]


def card(train: str, reported: str, split: str) -> dict:
    path, manifests = path_of(train, reported, split), [Path(train), Path(reported)]
    if not all(manifest.exists() for manifest in manifests):
        return data_cards.read(path)  # of the user's files (tasks/own_data.py)
    entry = {"sha256": [files.read_json(manifest)["sha256"] for manifest in manifests], "split": split}
    return data_cards.current(
        path, entry, {}, lambda: between(questions(train, data_cards.TRAIN), questions(reported, split))
    )


def between(train: text_card.Examples, reported: text_card.Examples) -> dict:
    """Return the card of the rows of a split that are also in a training set."""
    counts = {"rows": len(reported)}
    return {"warnings": text_card.leaked(reported, train, counts), "splits": {reported.name: counts}}


def questions(manifest: str, split: str) -> text_card.Examples:
    """Read the questions of a downloaded split."""
    from pyarrow import parquet

    name = data_cards.name_of(manifest)
    column = parquet.read_table(Path(manifest).with_name(name) / f"{split}.parquet", columns=["question"])["question"]
    rows = Rows()
    rows.add(name, name, f"row of {split}", ["question"], list(range(1, len(column) + 1)), [column.to_pylist()])
    return text_card.examples_of(f"{name}/{split}", Split(rows.columns, rows))
