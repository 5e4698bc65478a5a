"""What pages say about packages and studies whose folder has been deleted: it is not checked (CONTRIBUTING.md)."""

import re
from pathlib import Path

from support import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
ROWS = re.findall(r"^\| \[(\w+)\]\(packages/\w+/README\.md\) \|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)
DELETED = {name for name, _ in ROWS if not (ROOT / "packages" / name).exists()}
COMMANDS = {command for _, commands in ROWS for command in re.findall(r"`([\w-]+)`", commands)}  # of hra-workflow


def is_deleted(path: str | Path) -> bool:
    """Return whether a path of the repository is in the folder of a package or study that does not exist."""
    parts = (
        Path(path).absolute().relative_to(ROOT).parts
        if Path(path).absolute().is_relative_to(ROOT)
        else Path(path).parts
    )
    return parts[:1] in [("packages",), ("studies",)] and not ROOT.joinpath(*parts[:2]).exists()
