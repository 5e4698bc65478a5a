"""The part of a task that describes the contents of a dataset: its data card."""

import pkgutil
from pathlib import Path
from typing import ClassVar


class Contents:
    """Part of a Task, which has `name` and `download`.

    gold: for datasets with `answer`, the function (style, text) -> final answer, as `module:function`.
    """

    gold: ClassVar[str] = ""

    def card_entry(self, name: str) -> dict:
        """Return what a dataset's card depends on, besides its files."""
        return self.download(name)

    def data_card(self, name: str, own: dict[str, Path], folder: Path) -> dict:
        """Return the card of a dataset whose files `own` are in `folder`; raise JobError if it is unusable."""
        from hra_workflow.data import text_card, text_tables

        dataset = self.download(name)
        return text_card.of(text_tables.checked(f"{self.name}/{name}", dataset, folder, self.final_answer), dataset)

    def final_answer(self, style: str, text: str) -> str:
        return pkgutil.resolve_name(self.gold)(style, text)
