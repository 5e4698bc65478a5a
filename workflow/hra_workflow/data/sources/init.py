"""Datasets and models that a function generates instead of a download: source kind `init`."""

import inspect
from pathlib import Path

from hra_workflow.core import imports
from hra_workflow.core.errors import JobError
from hra_workflow.data.sources import Source


class Init(Source):
    """The files of the function `generator` (`module:function`), called with the other keys of the source.

    A function with a `folder` argument writes its files there. Any other returns split -> list of rows, which are
    written to {split}.parquet.
    """

    remote = False

    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> None:
        import pandas

        name = self.entry["generator"]
        function = imports.import_named(name, "generator")
        arguments = {key: value for key, value in self.entry.items() if key not in ("kind", "generator")}
        signature = inspect.signature(function)
        arguments |= {"folder": folder} if "folder" in signature.parameters else {}
        try:
            signature.bind(**arguments)
        except TypeError as problem:
            keys = ", ".join(key for key in signature.parameters if key != "folder")
            found = ", ".join(key for key in arguments if key != "folder") or "none"
            raise JobError(
                f"generator {name}: expected the keys {keys}; found {found} ({problem}). Correct the source."
            ) from problem
        for split, rows in (function(**arguments) or {}).items():
            pandas.DataFrame(rows).to_parquet(folder / f"{split}.parquet", index=False)
