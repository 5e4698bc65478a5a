"""Requests for the first bytes and the size of every file of a source, with this machine's token, without download."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from hra_workflow.core import imports
from hra_workflow.core.errors import JobError
from hra_workflow.data import hub, local_files, sources

FIRST_BYTES = 1024
TIMEOUT = 30  # seconds without a response


@dataclass(frozen=True)
class Reached:
    """The number of files of a source and their total size in bytes (None if unknown), or the problem of one file."""

    files: int
    size: int | None
    problem: str | None


def ask(source: dict, mirror: str | None, local_root: str) -> Reached:
    """Request the beginning of every file of a `source` entry in the config, until one fails."""
    sizes = []
    try:
        for request in requests_of(source, mirror, local_root):  # in turn: a dry run cannot start threads when it exits
            sizes.append(request())
    except JobError as problem:
        return Reached(len(sizes), None, str(problem))
    return Reached(len(sizes), None if None in sizes else sum(sizes), None)


def requests_of(source: dict, mirror: str | None, local_root: str) -> Iterator[Callable[[], int | None]]:
    """Yield a function per file, which returns its size or raises JobError; none for the files of a shared archive."""
    match source["kind"]:
        case "hub":
            for name in sources.hub_files(source, mirror, lambda name: True):
                place = f"hub/{source['repo']}/{source['revision']}/{name}"
                yield partial(of_mirror, mirror, place) if mirror else partial(of_hub, source, name)
        case "url":
            for url in urls(source):
                place = f"url/{sources.address(url)}"
                yield partial(of_mirror, mirror, place) if mirror else partial(get, url)
        case "pypi":
            yield partial(pypi, source, mirror)
        case "local":
            every = local_files.paths(source, local_root, {"archives": True})
            yield from (partial(first_bytes, path) for path in every.values())
        case "init":
            yield lambda: imports.import_named(source["generator"], "generator") and 0


def urls(source: dict) -> list[str]:
    """List the URLs of a source; of files in one folder, which some hosts limit per hour, only the first."""
    if "base" in source:
        return [f"{source['base']}/{quote(next(iter(source['files'])))}"]
    return [entry["url"] for entry in source["files"].values()]


def of_hub(source: dict, name: str) -> int | None:
    url, headers, expected, _ = hub.file(source, name, sources.OFFLINE, retries=False)
    get(url, headers)
    return expected.size


def get(url: str, headers: dict[str, str] | None = None) -> int | None:
    """Read the first bytes of a URL and return the size of its content, if the server reports one."""
    with answer(url, {**(headers or {}), "Range": "bytes=0-"}) as response:
        if not next(response.iter_content(FIRST_BYTES), b""):
            raise JobError(f"{url}: the server sent an empty file. Try again, or correct the URL in the config.")
        length = response.headers.get("Content-Length")
        return int(length) if length else None


def text(url: str) -> str:
    with answer(url, {}) as response:
        return response.text


@contextlib.contextmanager
def answer(url: str, headers: dict[str, str]):
    """Yield the response to a request; raise JobError for an HTTP error or a server that does not answer."""
    import requests

    try:
        with requests.get(
            url, headers=headers | {"Accept-Encoding": "identity"}, stream=True, timeout=TIMEOUT
        ) as found:
            if found.status_code not in (200, 206):
                advice = sources.MOVED if found.status_code in (404, 410) else sources.OFFLINE
                raise JobError(f"{url}: HTTP status {found.status_code} {found.reason}. {advice}")
            yield found
    except requests.RequestException as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise JobError(f"{url}: {reason}. {sources.OFFLINE}") from problem


def of_mirror(mirror: str, place: str) -> int | None:
    if sources.is_address(mirror):
        return get(f"{mirror.rstrip('/')}/{quote(place)}")
    path = Path(mirror).expanduser() / place
    if not path.is_file():
        raise JobError(f"{path}: no such file. The mirror {mirror} must contain {place}.")
    return first_bytes(path)


def first_bytes(path: Path) -> int:
    """Read the beginning of a file, which may be unreadable or on a broken mount, and return its size."""
    try:
        with path.open("rb") as stream:
            stream.read(FIRST_BYTES)
    except OSError as problem:
        raise JobError(f"{path}: {problem.strerror}. Make the file readable.") from problem
    return path.stat().st_size


def pypi(source: dict, mirror: str | None) -> None:
    """Check that pip's index, or the mirror, has this version of the package."""
    package, version = source["package"], source["version"]
    wheel = f"{package.replace('-', '_')}-{version}-"
    if mirror and not sources.is_address(mirror):
        found = [path.name for path in (Path(mirror).expanduser() / "pypi").glob("*.whl")]
        if not any(name.lower().startswith(wheel.lower()) for name in found):
            raise JobError(f"{package} {version}: the mirror {mirror} must contain its wheel in pypi/.")
        return
    if mirror:
        if wheel.lower() not in text(f"{mirror.rstrip('/')}/pypi/").lower():
            raise JobError(f"{package} {version}: the mirror {mirror} must contain its wheel in pypi/.")
        return
    command = [sys.executable, "-m", "pip", "index", "versions", package, "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or version not in done.stdout.replace(",", " ").split():
        reason = " ".join(done.stderr.split())[-500:] or f"the index lists {' '.join(done.stdout.split())[:200]}"
        raise JobError(f"pip's index has no {package} {version}: {reason}. {sources.OFFLINE}")
