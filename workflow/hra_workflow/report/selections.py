"""The checkpoints of a run that tables show: their titles and notes for readers."""

from collections.abc import Iterable

TITLES = {
    "best_on_dev": "Best on dev",
    "best_on_held_out": "Best on held-out rows",
    "best_on_test": "Best epoch on test",
    "last": "Last step",
}
NOTES = {
    "best_on_dev": "The evaluation during training with the best score on dev, the official code's rule (the "
    "paper specifies none). It selects and reports on the same data, so it is optimistic.",
    "best_on_held_out": "The evaluation during training with the best score on training rows that were held out. "
    "Published values next to it follow the official code, which selects on what it reports, so they are optimistic.",
    "best_on_test": "For each prompt the epoch with the highest sum of the metrics, each divided by its range over the "
    "epochs: the official code's rule. It selects and reports on the same images, so it is optimistic.",
    "last": "The model after the last step.",
}

DEV = ("dev", "val")  # begins the names of such splits


def splits(benchmarks: Iterable[dict]) -> list[str]:
    """Return the splits on which checkpoints are selected: those of each dataset's first benchmark.

    benchmarks: as in tasks/user_data.py.
    """
    first: dict[str, str] = {}
    for one in benchmarks:
        first.setdefault(one["dataset"], one["split"])
    return list(dict.fromkeys("dev" if split.startswith(DEV) else split for split in first.values()))


def on_training_split(benchmarks: Iterable[dict]) -> list[dict]:
    """Return the benchmarks that are the split on which models are trained."""
    return [one for one in benchmarks if one["train"] == one["reported"] and one["split"] == "train"]


def training_split_warnings(benchmarks: Iterable[dict]) -> list[str]:
    return [
        f"{one['dataset']}: the benchmark {one['benchmark']} is the split on which models are trained, so its scores "
        "do not show how a model does on new data"
        for one in on_training_split(benchmarks)
    ]


def name_splits(splits: list[str], texts: dict[str, str]) -> dict[str, str]:
    """Return TITLES or NOTES with the names of the splits instead of `dev`."""
    return {name: text.replace(" dev", f" {' and '.join(splits or ['dev'])}") for name, text in texts.items()}
