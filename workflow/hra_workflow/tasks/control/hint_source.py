"""The source of a custom hint function, by which a dry run detects changes."""

import sys
from pathlib import Path

from hra_workflow.core import files, imports


def sha256(hint: str) -> str:
    """Compute the SHA-256 of the source of `module:function`: its file, or all Python files of its top-level package.

    It does not include modules that they import from elsewhere. Raises JobError if the function cannot be imported.
    """
    imports.import_named(hint, "hint")
    top = sys.modules[hint.partition(":")[0].partition(".")[0]]
    hashes = {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for folder in getattr(top, "__path__", ())
        for path in Path(folder).rglob("*.py")
    }
    return files.sha256_of_listing(hashes or {top.__name__: files.sha256(top.__file__)})
