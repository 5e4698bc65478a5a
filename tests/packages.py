"""What pages say about packages and studies whose folder has been deleted: it is not checked (docs/packages.md)."""

import re
from pathlib import Path

from support import ROOT

PAGE = (ROOT / "docs/packages.md").read_text()
ROWS = re.findall(r"^\| \[(\w+)\]\(\.\./packages/\w+/README\.md\) \|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)
DELETED = {
    name: {*re.findall(r"`([\w-]+)`", targets)} for name, targets in ROWS if not (ROOT / "packages" / name).exists()
}
TARGETS = set().union(*DELETED.values())  # of make


def is_deleted(path: str | Path) -> bool:
    """Return whether a path of the repository is in the folder of a package or study that does not exist."""
    parts = (
        Path(path).absolute().relative_to(ROOT).parts
        if Path(path).absolute().is_relative_to(ROOT)
        else Path(path).parts
    )
    return parts[:1] in [("packages",), ("studies",)] and not ROOT.joinpath(*parts[:2]).exists()
