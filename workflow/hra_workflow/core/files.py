"""Atomic writing and reading of files: a file gets its name only when its content is complete."""

import contextlib
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

from hra.paths import share
from hra_workflow.core.errors import JobError
from hra_workflow.core.process_identity import check_starter

ABANDONED = 3600  # seconds since the last write to a temporary file of another machine


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path` and rename it to `path` on success.

    Removes temporary files that killed processes have left of the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    temporary = own_name(path)
    try:
        yield temporary
        check_starter()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # do not leave useless files on a full disk
        raise


def own_name(path: Path) -> Path:
    """Return a temporary name of a file or folder that no other process uses."""
    return path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.tmp")


def sweep(path: Path) -> None:
    """Remove the abandoned temporary files and folders of `path`.

    On this machine, a file is abandoned if its process has ended. For another machine that shares the folder, and for
    a reused process ID, only the file's age can tell.
    """
    owner = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(platform.node())}-(\d+)\.tmp")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*tmp"):
        ours = owner.fullmatch(left.name)
        with contextlib.suppress(FileNotFoundError):  # another process may remove it at the same time
            if (ours and not psutil.pid_exists(int(ours[1]))) or age(left) > ABANDONED:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def age(path: Path) -> float:
    """Return the seconds since a file was written, by this machine's clock."""
    return time.time() - path.stat().st_mtime


def link(source: str | Path, path: str | Path) -> None:
    """Give a file a second name; if the file system has no hard links, copy it."""
    if os.path.exists(path) and os.path.samefile(source, path):
        return  # renaming one name of a file to another leaves both
    with replacing(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def write_text(path: str | Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=False, allow_nan=False) + "\n")


def parse_object(text: bytes) -> dict:
    """Parse a JSON object; raise ValueError if the text is invalid or not an object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {text[:80]!r}")
    return value


def read_json(path: str | Path, remedy: str = "Delete it and run again."):
    """Read a JSON file. Raise FileNotFoundError if it is missing, JobError if it is truncated or corrupted."""
    content = Path(path).read_bytes()
    try:
        return json.loads(content)
    except ValueError as problem:
        raise JobError(
            f"{path}: expected valid JSON, found a truncated or corrupted file ({problem}). {remedy}"
        ) from problem


def read_if_valid(path: str | Path) -> dict:
    """Read a JSON file, or return {} if it is missing or damaged: the job that needs it reports the error."""
    try:
        return read_json(path)
    except (FileNotFoundError, JobError):
        return {}


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new, empty folder next to `path` and rename it to `path` on success."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    new = own_name(path)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    yield new
    replace_folder(new, path)


def replace_folder(new: str | Path, path: str | Path) -> None:
    """Replace the folder `path` with the finished folder `new`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    share(new)
    check_starter()
    shutil.rmtree(path, ignore_errors=True)
    Path(new).rename(path)


def sha256(path: str | Path) -> str:
    """Compute the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_listing(hashes: dict[str, str]) -> str:
    """Compute one SHA-256 for a set of files, over their sorted `sha256  path` lines as printed by `sha256sum`."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def path_inside(folder: Path, name: str) -> Path:
    """Return `folder / name`; raise JobError for a name that leads out of the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        raise JobError(f"{name!r}: not a path inside a folder. Correct the name.")
    return folder / name
