"""The check that the installed package belongs to the workflow: rules never run another folder's code."""

import hashlib
from pathlib import Path

import hra_workflow
from hra_workflow.core.errors import JobError


def check(folder: Path) -> None:
    """Raise JobError unless this package, as imported, is the one in the workflow's `folder`, or a copy of it.

    For a user's script, in a folder without the package, nothing is compared.
    """
    here, there = Path(hra_workflow.__file__).parent.resolve(), (folder / "workflow/hra_workflow").resolve()
    if not there.exists() or here == there or digest(here) == digest(there):
        return
    raise JobError(
        f"expected the package hra_workflow of this workflow, {there}, found another version, {here}. Install it in "
        f"this environment: pip install -e {folder} -e {folder}/workflow"
    )


def digest(folder: Path) -> str:
    """Return a digest of the names and contents of all Python files."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return content.hexdigest()
