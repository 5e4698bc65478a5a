"""The datasets of a task for the downloads, the checks of the config and `hra-workflow smoke`."""

import pkgutil
from pathlib import Path
from typing import ClassVar

from hra_workflow.core.errors import one_of
from hra_workflow.tasks.part import Part

CONVERTED = ("splits", "read", "columns", "label", "labels", "answer", "rows", "max_characters", "shuffle", "take")


class Data(Part):
    """The datasets of a task. The defaults are those of tables of texts.

    gold: for datasets with `answer`, the function (style, text) -> final answer, as `module:function`.
    """

    gold: ClassVar[str] = ""

    def entry(self, name: str) -> dict:
        """Return a dataset's entry with its `benchmarks`, their `metrics` and `score`, the metric for selection."""
        return self.datasets[name]

    def download(self, name: str) -> dict:
        """Return everything except the source that a dataset's download depends on; here, its conversion to tables."""
        return {key: value for key, value in self.datasets[name].items() if key in CONVERTED}

    def card_entry(self, name: str) -> dict:
        """Return everything except the files that a dataset's card depends on."""
        return self.download(name)

    def card(self, name: str, user_files: dict[str, Path], folder: Path) -> dict:
        """Return the card of a dataset whose files `user_files` are in `folder`; raise JobError if it is unusable."""
        from hra_workflow.data import text_card, text_tables

        entry = self.download(name)
        return text_card.make_card(
            text_tables.read_splits(f"{self.name}/{name}", entry, folder, self.final_answer), entry
        )

    def final_answer(self, style: str, text: str) -> str:
        """Return the final answer of a text of a dataset with `answer`."""
        return pkgutil.resolve_name(self.gold)(style, text)

    def check_entry(self, key: str, name: str) -> None:
        """Raise JobError if a dataset's entry is invalid; `key` is its key in the config."""
        entry = self.datasets[name]
        for of_splits in ("rows", "take"):
            for split in entry.get(of_splits, {}):
                one_of(f"{key}.{of_splits}", "split", split, entry["splits"])

    def probe(self, dataset: str, rows: int, hyperparameters: dict) -> tuple[dict[str, dict], dict] | None:
        """Return entries of synthetic datasets, and changes of the task's settings for one batch per stage.

        The entry `preflight` replaces `dataset`, with `rows` rows to train on. `hyperparameters`: those of the run
        that generates and is evaluated. Returns None if the task has no probe.
        """
        return None


def generated(function: str, **arguments) -> dict:
    """Return a source that calls a function of hra_workflow/data/synthetic.py."""
    return {"kind": "init", "generator": f"hra_workflow.data.synthetic:{function}"} | arguments


def rows(entry: dict, split: str) -> int | None:
    """Return the number of rows of a split that are used, if the config specifies it."""
    total = (entry.get("rows") or entry.get("source", {}).get("rows") or {}).get(split)
    first = entry.get("take", {}).get(split)
    return min(filter(None, (total, first)), default=None)
