"""Download one file from a URL or copy it from a folder: resumed, verified, and renamed only when complete.

A partial download is `NAME.part`; `NAME.part.etag` next to it identifies the server's version of the file. Own code, as
`curl --continue-at -` (8.14) sends no If-Range, so it joins two versions of a changed file and returns 0, takes a
partial file that is too long for complete, and refuses servers without ranges (33).
"""

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError, final_error
from hra_workflow.core.process_identity import check_starter

ATTEMPTS = 5  # consecutive attempts without a new byte
BACKOFF = 1.0  # seconds before the second attempt; doubled for each further one
TIMEOUT = 30.0  # seconds without a response
CHUNK = 1 << 16  # bytes; the most that an interruption loses
CUT_STATUS = {408, 500, 502, 504}
BUSY_STATUS = {
    429: "it limits the number of requests per address: run again later, or from another network",
    503: "it is overloaded or in maintenance: run again later",
}
BUSY = 15.0  # seconds before the second request to a busy server, unless it requests more; doubled for further ones
PATIENCE = 900.0  # seconds to wait in total for a busy server


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
        if self.blob and (found := git_blob(path)) != self.blob:
            return f"expected git blob {self.blob}, found {found} ({size} bytes)"
        return None


class ServerBusy(Exception):
    """Raised if the server refuses the request temporarily: HTTP status 429 or 503."""

    def __init__(self, status: int, after: str | None):
        from urllib3 import Retry
        from urllib3.exceptions import InvalidHeader

        super().__init__(f"HTTP status {status}")
        self.status, self.retry_after = status, None  # seconds that the server requests to wait, if any
        with contextlib.suppress(InvalidHeader, OverflowError):
            self.retry_after = Retry().parse_retry_after(after) if after else None


class TransferInterrupted(Exception):
    """Raised if the transfer stopped early and is worth another attempt."""


def download(
    url: str, path: Path, expected: ExpectedFile, headers: dict[str, str] | None = None, remedy: str = ""
) -> None:
    """Download `url` to `path`, resuming from an earlier partial download if the server supports it.

    Waits for a busy server as long as it requests, at most PATIENCE seconds in total. Raises JobError if that does not
    suffice, for an HTTP error, ATTEMPTS interruptions without a new byte, a wrong size or hash, and a full disk. The
    partial download is kept for the next run, unless its content is wrong.
    """
    part = part_of(path)
    failures, longest, restarted, refusals, waited = 0, size_of(part), False, 0, 0.0
    while True:
        resumed = size_of(part) > 0
        try:
            receive(url, part, expected, headers or {}, remedy)
        except ServerBusy as busy:
            pause = max(busy.retry_after or 0, BUSY * 2**refusals)
            asked = pause == busy.retry_after
            if waited + pause > PATIENCE:
                wait = f" and asks to wait {duration(pause)}" if asked else f" for {duration(waited)}"
                reason = BUSY_STATUS[busy.status]
                raise JobError(f"{url}: the server answers with {busy}{wait}: {reason}. {remedy}".rstrip()) from busy
            said = f"{busy}; waiting {duration(pause)}{', as the server asks' if asked else ''}"
            refusals, waited = refusals + 1, waited + pause
        except TransferInterrupted as cut:
            if size_of(part) > longest:
                failures, refusals, waited, longest = 0, 0, 0.0, size_of(part)
            failures += 1
            if failures >= ATTEMPTS:
                raise JobError(
                    f"{url}: {cut}, {ATTEMPTS} times in a row. {longest} bytes are kept in {part}. "
                    f"Run again to resume from there. {remedy}".rstrip()
                ) from cut
            said, pause = f"{cut}; resuming after {size_of(part)} bytes", BACKOFF * 2 ** (failures - 1)
        else:
            if (problem := expected.mismatch(part)) is None:
                return finish(part, path)
            discard(part)
            if not resumed or restarted:
                raise JobError(
                    f"{url}: {problem}. The file was discarded: it is modified or truncated at the source, or the "
                    "config specifies a different file. Compare the SHA-256 in the config with the publisher's. "
                    f"{remedy}".rstrip()
                )
            restarted, longest = True, 0  # it may combine parts of two versions
            continue
        print(f"{url}: {said}", file=sys.stderr, flush=True)
        time.sleep(pause)


def receive(url: str, part: Path, expected: ExpectedFile, headers: dict[str, str], remedy: str) -> None:
    """Append the missing bytes to `part` in one request.

    Raises TransferInterrupted or ServerBusy if another attempt may help, otherwise JobError.
    """
    import requests
    from tqdm import tqdm

    part.parent.mkdir(parents=True, exist_ok=True)
    mark = part.with_name(part.name + ".etag")
    etag = mark.read_text() if mark.exists() else ""
    if not (etag or expected.sha256 or expected.blob):
        discard(part)  # it could not be verified that both parts belong together
    start = size_of(part)
    if start and start == expected.size:
        return
    headers = {**headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if etag:
            headers["If-Range"] = etag
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            status = response.status_code
            if status == 416:
                # The partial download is as long as the file, or longer.
                if response.headers.get("Content-Range") == f"bytes */{start}":
                    return
                discard(part)
                raise TransferInterrupted("the server's file is shorter than the partial download")
            if status in BUSY_STATUS:
                raise ServerBusy(status, response.headers.get("Retry-After"))
            if status in CUT_STATUS:
                raise TransferInterrupted(f"HTTP status {status}")
            if status not in (200, 206):
                refused = final_error if status < 500 else JobError
                raise refused(f"{url}: HTTP status {status} {response.reason}. {remedy}".rstrip())
            if status == 200:
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
    except requests.exceptions.InvalidURL as problem:
        raise final_error(f"{url}: not a valid URL ({problem}). Correct it in the config.") from problem
    except requests.RequestException as problem:
        raise TransferInterrupted(f"{type(problem).__name__}: {problem}") from problem
    if total is not None and size_of(part) < total:
        raise TransferInterrupted(f"the connection ended at {size_of(part)} of {total} bytes")


def copy(source: Path, path: Path, expected: ExpectedFile, remedy: str = "") -> None:
    """Copy the file `source` to `path` with the same checks as a download."""
    if not source.is_file():
        raise final_error(f"{source}: no such file. {remedy}".rstrip())
    part = part_of(path)
    part.parent.mkdir(parents=True, exist_ok=True)
    with out_of_space(part.parent, source.stat().st_size):
        shutil.copyfile(source, part)
    if problem := expected.mismatch(part):
        discard(part)
        raise JobError(f"{source}: {problem}. The file is modified or truncated: copy it again. {remedy}".rstrip())
    finish(part, path)


def validator(headers) -> str:
    """Return the validator for If-Range: a strong ETag, else the date of the last change, else an empty string."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


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


def git_blob(path: Path) -> str:
    """Compute git's ID of a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: digest).hexdigest()


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
