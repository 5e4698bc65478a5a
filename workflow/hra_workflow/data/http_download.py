"""Download one file from a URL: resumed, verified, and renamed only when complete.

A partial download is `NAME.part`; `NAME.part.etag` next to it identifies the server's version of the file. Own code:
huggingface_hub 2 deletes its partial file on a failure, pooch starts over, pip resumes only within one run, and
`curl --continue-at -` (8.14) sends no If-Range, so it joins two versions of a changed file and returns 0, takes a
partial file that is too long for complete, and refuses servers without ranges (33). urllib3 waits for busy servers.
"""

import contextlib
import errno
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.process_identity import check_starter

ATTEMPTS = 5  # consecutive attempts without a new byte
BACKOFF = 1.0  # seconds before the second attempt; doubled for each further one
TIMEOUT = 30.0  # seconds without a response
CHUNK = 1 << 16  # bytes; the most that an interruption loses
BUSY = 5  # further requests to a server that answers with one of these statuses
BUSY_STATUSES = (408, 429, 500, 502, 503, 504)
BUSY_BACKOFF = 7.5  # seconds: the waits are 0, 15, 30, 60 and 120 seconds, or as the server requests
LONGEST_WAIT = 300  # seconds of a wait that a server requests


@dataclass(frozen=True)
class ExpectedFile:
    """The known properties of a file before its download; None: unknown."""

    sha256: str | None = None  # or its first digits
    size: int | None = None  # bytes
    blob: str | None = None  # git's id: SHA-1 over "blob SIZE\\0" and the content

    def mismatch(self, path: Path) -> str | None:
        """Describe how the file at `path` differs from the expected one; None if it does not."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"expected {self.size} bytes, found {size}"
        if self.sha256 and not (found := files.sha256(path)).startswith(self.sha256):
            stated = self.sha256 if len(self.sha256) == len(found) else f"{self.sha256}…"
            return f"expected SHA-256 {stated}, found {found} ({size} bytes)"
        if self.blob:  # of a small file
            from huggingface_hub.utils.sha import git_hash

            if (found := git_hash(path.read_bytes())) != self.blob:
                return f"expected git blob {self.blob}, found {found} ({size} bytes)"
        return None


class TransferInterrupted(Exception):
    """Raised if the transfer stopped early and is worth another attempt."""


def download(
    url: str, path: Path, expected: ExpectedFile, headers: dict[str, str] | None = None, remedy: str = ""
) -> None:
    """Download `url` to `path`, resuming from an earlier partial download if the server supports it.

    Raises JobError for an HTTP error, ATTEMPTS interruptions without a new byte, a wrong size or hash, and a full disk.
    The partial download is kept for the next run, unless its content is wrong.
    """
    part = part_of(path)
    failures, longest, restarted = 0, size_of(part), False
    while True:
        resumed = size_of(part) > 0
        try:
            receive(url, part, expected, headers or {}, remedy)
        except TransferInterrupted as cut:
            failures = 1 if size_of(part) > longest else failures + 1
            longest = max(longest, size_of(part))
            if failures >= ATTEMPTS:
                raise JobError(
                    f"{url}: {cut}, {ATTEMPTS} times in a row. {longest} bytes are kept in {part}. "
                    f"Run again to resume from there. {remedy}".rstrip()
                ) from cut
            time.sleep(BACKOFF * 2 ** (failures - 1))
            continue
        if (problem := expected.mismatch(part)) is None:
            return finish(part, path)
        discard(part)
        if not resumed or restarted:
            raise JobError(
                f"{url}: {problem}. The file was discarded: it is modified or truncated at the source, or the config "
                f"specifies a different file. Compare the SHA-256 in the config with the publisher's. {remedy}".rstrip()
            )
        restarted, longest = True, 0  # it may combine parts of two versions


def receive(url: str, part: Path, expected: ExpectedFile, headers: dict[str, str], remedy: str) -> None:
    """Append the missing bytes to `part` in one request; raise TransferInterrupted if another attempt may help."""
    from tqdm import tqdm

    part.parent.mkdir(parents=True, exist_ok=True)
    mark = part.with_name(part.name + ".etag")
    etag = mark.read_text() if mark.exists() else ""
    if not (etag or expected.sha256 or expected.blob):
        discard(part)  # it could not be verified that both parts belong together
    start = size_of(part)
    if start and start == expected.size:
        return
    if start:
        headers = headers | {"Range": f"bytes={start}-"} | ({"If-Range": etag} if etag else {})
    with answer(url, headers, remedy) as response:
        if response.status_code == 416:  # the partial download is as long as the file, or longer
            if response.headers.get("Content-Range") == f"bytes */{start}":
                return
            discard(part)
            raise TransferInterrupted("the server's file is shorter than the partial download")
        if response.status_code == 200:
            discard(part)  # a server that cannot resume, or has a changed file, sends it from the start
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            discard(part)
            raise TransferInterrupted(f"expected bytes from {start}, found {response.headers.get('Content-Range')}")
        elif etag and validator(response.headers) not in ("", etag):
            discard(part)
            raise TransferInterrupted("the file changed during the download")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else expected.size
        chunked = response.headers.get("Transfer-Encoding") == "chunked"
        if total is None and not chunked and not (expected.sha256 or expected.blob):
            raise JobError(
                f"{url}: the server sends no length and the config has no SHA-256. Add the SHA-256 to the config."
            )
        # In a log file: no line for a short transfer, then one every half minute.
        pace = {"mininterval": 0.1} if sys.stderr.isatty() else {"mininterval": 30, "delay": 10}
        label = url.rsplit("/", 1)[-1]
        with (
            out_of_space(part.parent, (total or 0) - start),
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=label, **pace) as bar,
            open(part, "ab") as stream,
        ):
            mark.write_text(validator(response.headers))
            for number, chunk in enumerate(response.iter_content(CHUNK)):
                if number % 1000 == 0:
                    check_starter()
                stream.write(chunk)
                bar.update(len(chunk))
    if total is not None and size_of(part) < total:
        raise TransferInterrupted(f"the connection ended at {size_of(part)} of {total} bytes")


@contextlib.contextmanager
def answer(url: str, headers: dict[str, str], remedy: str):
    """Yield the response; raise JobError for an HTTP error, TransferInterrupted for a broken connection."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    waits = {"backoff_factor": BUSY_BACKOFF, "backoff_max": 120, "retry_after_max": LONGEST_WAIT}
    only_busy = {"connect": 0, "read": 0, "other": 0, "status_forcelist": BUSY_STATUSES, "raise_on_status": False}
    busy = Retry(None, status=BUSY, **only_busy, **waits)
    try:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=busy))
            session.mount("https://", HTTPAdapter(max_retries=busy))
            with session.get(
                url, headers=headers | {"Accept-Encoding": "identity"}, stream=True, timeout=TIMEOUT
            ) as response:
                if response.status_code not in (200, 206, 416):
                    raise JobError(f"{url}: HTTP status {response.status_code} {response.reason}. {remedy}".rstrip())
                yield response
    except requests.exceptions.InvalidURL as problem:
        raise JobError(f"{url}: not a valid URL ({problem}). Correct it in the config.") from problem
    except requests.RequestException as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise TransferInterrupted(reason) from problem


def validator(headers) -> str:
    """Return the validator for If-Range: a strong ETag, else the date of the last change, else an empty string."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".etag").unlink(missing_ok=True)


def finish(part: Path, path: Path) -> None:
    part.replace(path)
    part.with_name(part.name + ".etag").unlink(missing_ok=True)


@contextlib.contextmanager
def out_of_space(folder: Path, needed: int = 0):
    """Raise JobError before the first byte if `needed` bytes do not fit, and later for a full disk or quota."""
    try:
        if needed > 0 and needed > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free
        wanted = f"{needed / 1e6:.1f} MB are needed, " if needed > 0 else ""
        raise JobError(
            f"No space left in {folder}: {wanted}{free / 1e6:.1f} MB are free (a quota may allow less). Free some "
            "space, or point `pathvars: resources` to another disk, and run again: partial downloads are kept."
        ) from problem
