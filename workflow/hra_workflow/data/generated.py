"""Datasets and models that a function generates instead of a download: sources of kind `init`."""

import inspect
from pathlib import Path

from hra_workflow.core import imports
from hra_workflow.core.errors import JobError


def write(source: dict, folder: Path, local_root: str = ".") -> None:
    """Call the function `generator` (`module:function`) with the other keys of the source as arguments.

    A function with a `folder` argument writes its files there. Any other returns split -> list of rows, which are
    written to {split}.parquet. A function with a `local_root` argument reads files below that folder.
    """
    import pandas

    name = source["generator"]
    function = imports.import_named(name, "generator")
    arguments = {key: value for key, value in source.items() if key not in ("kind", "generator")}
    parameters = inspect.signature(function).parameters
    offered = {"folder": folder, "local_root": local_root}
    arguments |= {key: value for key, value in offered.items() if key in parameters}
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as problem:
        keys = ", ".join(key for key in parameters if key not in offered)
        found = ", ".join(key for key in arguments if key not in offered) or "none"
        raise JobError(
            f"generator {name}: expected the keys {keys}; found {found} ({problem}). Correct the source."
        ) from problem
    for split, rows in (function(**arguments) or {}).items():
        pandas.DataFrame(rows).to_parquet(folder / f"{split}.parquet", index=False)
