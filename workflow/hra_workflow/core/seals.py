"""Tables and other derived files with a seal next to them, so that an edited or outdated one is never shown.

The seal of table_glue.csv is a separate file, .table_glue.csv.sha256, since pandas, spreadsheets and diffs read the
table. It has one line of `sha256sum` for the table, and one for each file that the table was made from. It is not an
output of a rule, so finished jobs do not run again.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError

REBUILT = "run again (hra-workflow run): it is built from the records of the runs, in seconds."


def write(path: str | Path, text: str, made_from: Iterable[str | Path]) -> None:
    """Write a text and its seal. made_from: the files that its content depends on."""
    path, content = Path(path), text.encode()
    listed = {path.name: hashlib.sha256(content).hexdigest()}
    listed |= {os.path.relpath(one, path.parent): files.sha256(one) for one in made_from}
    files.write_text(seal_of(path), "".join(f"{digest}  {name}\n" for name, digest in listed.items()))
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def read(path: str | Path) -> str:
    """Read a sealed text; raise JobError if it, or a file that it was made from, has changed since `write`."""
    path = Path(path)
    content = path.read_bytes()
    check(path, hashlib.sha256(content).hexdigest(), set())
    return content.decode()


def check(path: Path, found: str, checked: set[Path]) -> None:
    """Check the seal of a file with the digest `found`, then, recursively, the files that it was made from.

    Files that do not exist are not checked: a folder may be copied without the runs. checked: the files that have been
    checked.
    """
    for name, digest in check_content(path, found).items():
        source = path.parent / name
        if source in checked or not source.exists():
            continue
        checked.add(source)
        now = files.sha256(source)
        if seal_of(source).exists():
            check(source, now, checked)
        if now != digest:
            raise JobError(
                f"{path}: expected {source} as when this file was made from it, with SHA-256 {digest}, found {now}. "
                f"Delete {path} and {REBUILT}"
            )


def check_content(path: Path, found: str) -> dict[str, str]:
    """Check the digest `found` of a file by its seal; return the digests of the files that it was made from."""
    seal = seal_of(path)
    if not seal.exists():
        raise JobError(
            f"{path}: expected its SHA-256 in {seal.name}, found no such file: an earlier version built it, "
            f"or it was copied without its seal. Delete {path.parent}/*.csv and {REBUILT}"
        )
    listed = dict(line.split("  ", 1)[::-1] for line in seal.read_text().splitlines() if "  " in line)
    stated = listed.pop(path.name, None)
    if found != stated:
        raise JobError(
            f"{path}: expected the content that was written, with SHA-256 {stated}, found {found}. It was edited or "
            f"damaged. Delete it and {REBUILT} To change its numbers for other uses, edit a copy."
        )
    return listed


def made_from_another(path: Path, source: Path) -> bool:
    """Return whether a file was not made from this content of `source`: by its seal, or without one by their times."""
    seal = seal_of(path)
    if not seal.exists():
        return path.stat().st_mtime < source.stat().st_mtime
    listed = dict(line.split("  ", 1)[::-1] for line in seal.read_text().splitlines() if "  " in line)
    return listed.get(os.path.relpath(source, path.parent)) != files.sha256(source)


def seal_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")
