"""The source of a custom hint function, found without importing it, so that a dry run can detect changes.

Imported by the Snakefile on login nodes, so no torch and no numpy here.
"""

import os
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError


def sha256(hint: str) -> str:
    """Compute the SHA-256 of the source of `module:function`: its file, or all Python files of its top-level package.

    Their imports from elsewhere are not covered. Raises JobError if Python cannot find the module.
    """
    module = hint.partition(":")[0]
    top = module.partition(".")[0]
    spec = find(top)
    if not (spec and find(module)):
        raise JobError(
            f"hint {hint!r}: expected a module {module} on PYTHONPATH, found none "
            f"(PYTHONPATH is {os.environ.get('PYTHONPATH') or 'not set'}). "
            f"Add the folder that contains {top}: export PYTHONPATH=/path/to/folder"
        )
    hashes = {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for folder in spec.submodule_search_locations or ()
        for path in Path(folder).rglob("*.py")
    }
    return files.sha256_of_listing(hashes or {top: files.sha256(spec.origin)})


def find(module: str) -> ModuleSpec | None:
    """Find the specification of a module with a file or folder, starting at its top-level package."""
    top, *parts = module.split(".")
    try:
        spec = find_spec(top)  # find_spec("a.b") would import a
    except ValueError:  # an empty name
        return None
    for part in parts:
        spec = spec and PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations or [])
    return spec if spec and (spec.has_location or spec.submodule_search_locations) else None
