"""The source of a custom hint function, found without importing it, so that a dry run can detect changes."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import expect


def sha256(hint: str) -> str:
    """Compute the SHA-256 of the source of `module:function`: its file, or all Python files of its top-level package.

    It does not include modules that they import from elsewhere. Raises JobError if Python cannot find the package, or
    the function's name is not in it.
    """
    module, _, function = hint.partition(":")
    top = module.partition(".")[0]
    spec = find_spec(top)  # find_spec("a.b") would import a
    expect(
        spec and (spec.has_location or spec.submodule_search_locations),
        f"hint {hint!r}: expected a module {top} on PYTHONPATH, found none (PYTHONPATH is "
        f"{os.environ.get('PYTHONPATH') or 'not set'}). Add its folder: export PYTHONPATH=/path/to/folder",
    )
    folders = spec.submodule_search_locations or ()
    found = {path.relative_to(folder).as_posix(): path for folder in folders for path in Path(folder).rglob("*.py")}
    found = found or {top: Path(spec.origin)}
    named = any(re.search(rf"\b{function}\b", path.read_text(errors="replace")) for path in found.values())
    expect(named, f"hint {hint!r}: expected a function {function} in {top}, found no such name. Correct it")
    return files.sha256_of_listing({name: files.sha256(path) for name, path in found.items()})
