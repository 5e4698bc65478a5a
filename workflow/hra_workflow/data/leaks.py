"""Rows of benchmarks that are also in the training set.

A benchmark is a dict of JSON types: the training set's `dataset`, the benchmark's name, the manifests `train` and
`reported` of the training and the evaluation dataset, and the latter's `split`. If both are one dataset, its card has
the number of rows, which are all rows if the split is that of the training; otherwise a card of the pair has it, next
to the training set's, if both contain questions.
"""

from collections.abc import Iterable
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.data import data_cards, text_card
from hra_workflow.data.text_rows import Rows
from hra_workflow.data.text_tables import Split


def find_leak(benchmark: dict) -> str | None:
    """Return `3 of 12 rows` if so many rows of a benchmark are in the training set, from the card; None if none are."""
    train, reported, split = (benchmark[name] for name in ("train", "reported", "split"))
    if train == reported:
        found, name = files.read_if_valid(data_cards.path_of(train)), split
    else:
        found, name = card(train, reported, split), f"{data_cards.name_of(reported)}/{split}"
    counts = found.get("splits", {}).get(name, {})
    count = counts["rows"] if counts and is_training_split(benchmark) else counts.get("in_train")
    return f"{count:,} of {counts['rows']:,} rows" if count else None


def is_training_split(benchmark: dict) -> bool:
    return benchmark["train"] == benchmark["reported"] and benchmark["split"] == data_cards.TRAIN


def every(benchmarks: Iterable[dict]) -> dict[tuple[str, str], str]:
    """Return (dataset, benchmark) -> find_leak of the benchmarks that have rows in the training set."""
    found = {(one["dataset"], one["benchmark"]): find_leak(one) for one in benchmarks}
    return {key: leak for key, leak in found.items() if leak}


def path_of(train: str, reported: str, split: str) -> Path:
    place = data_cards.path_of(train)
    return place.with_name(f"{data_cards.name_of(train)}.{data_cards.name_of(reported)}.{split}.card.json")


def warnings(benchmarks: Iterable[dict]) -> list[str]:
    """Return the warnings of benchmarks that are training splits or in other datasets, which no data card has.

    Outdated cards are made again from downloaded datasets.
    """
    benchmarks = list(benchmarks)
    trained = filter(is_training_split, benchmarks)
    elsewhere = [one for one in benchmarks if one["train"] != one["reported"]]
    return [
        f"{one['dataset']}: the benchmark {one['benchmark']} is the split on which models are trained, so its scores "
        "do not show how a model does on new data"
        for one in trained
    ] + [
        f"{data_cards.name_of(one['train'])}: {warning}"
        for one in elsewhere
        for warning in card(one["train"], one["reported"], one["split"]).get("warnings", [])
    ]


def card(train: str, reported: str, split: str) -> dict:
    path, manifests = path_of(train, reported, split), [Path(train), Path(reported)]
    if not all(manifest.exists() for manifest in manifests):
        return files.read_if_valid(path)  # of the user's files (tasks/user_data.py)
    entry = {"sha256": [files.read_json(manifest)["sha256"] for manifest in manifests], "split": split}
    return data_cards.current(
        path, entry, {}, lambda: between(questions(train, data_cards.TRAIN), questions(reported, split))
    )


def between(train: text_card.Examples, reported: text_card.Examples) -> dict:
    """Make the card of a split's rows that are also in a training set."""
    counts = {"rows": len(reported)}
    return {"warnings": text_card.leaked(reported, train, counts), "splits": {reported.name: counts}}


def questions(manifest: str, split: str) -> text_card.Examples:
    """Read the questions of a downloaded split."""
    from pyarrow import parquet

    name = data_cards.name_of(manifest)
    table = parquet.read_table(Path(manifest).with_name(name) / f"{split}.parquet", columns=["question"])
    rows = Rows()
    rows.add(name, f"{name}, row of {split}", [*enumerate(table.to_pylist(), 1)])
    return text_card.examples_of(f"{name}/{split}", Split(rows.columns, rows))
