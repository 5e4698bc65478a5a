"""Bring one file from an address or a folder: resumed where it stopped, checked, and named only when whole.

A file under way is `NAME.part`, with `NAME.part.etag` beside it: the server's mark of the version that it is part of.
Own code because no kept library resumes in a second process: huggingface_hub 2 deletes its partial file on a failure
and gives it a new name at every start, pooch starts anew, and pip resumes only within one run.
"""

import contextlib
import errno
import hashlib
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from common.core import files
from common.core.errors import JobError

ATTEMPTS = 5  # without a new byte
BACKOFF = 1.0  # seconds before the second attempt; doubles from there
TIMEOUT = 30.0  # seconds without an answer
CHUNK = 1 << 16  # bytes; what a cut can cost
CUT_STATUS = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class ExpectedFile:
    """What is known of a file before it comes; None where nothing is."""

    sha256: str | None = None
    size: int | None = None  # bytes
    blob: str | None = None  # git's id: SHA-1 over "blob SIZE\\0" and the content

    def mismatch(self, path: Path) -> str | None:
        """Why the file at `path` is not the expected one, or None."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"expected {self.size} bytes, {size} came"
        if self.sha256 and (came := files.sha256(path)) != self.sha256:
            return f"expected SHA-256 {self.sha256}, {came} came ({size} bytes)"
        if self.blob and (came := git_blob(path)) != self.blob:
            return f"expected git blob {self.blob}, {came} came ({size} bytes)"
        return None


class TransferInterrupted(Exception):
    """The transfer stopped before the end; worth another attempt."""


def download(
    url: str, path: Path, expected: ExpectedFile, headers: dict[str, str] | None = None, remedy: str = ""
) -> None:
    """Bring `url` to `path`, going on from an earlier attempt's partial file where the server can.

    Raises JobError for a refusal, ATTEMPTS interruptions without a new byte, a wrong size or hash, and a full disk.
    The partial file stays for the next run, except where its content is wrong.
    """
    part = part_of(path)
    failures, longest, restarted = 0, size_of(part), False
    while True:
        resumed = size_of(part) > 0
        try:
            receive(url, part, expected, headers or {}, remedy)
        except TransferInterrupted as cut:
            grown = size_of(part) > longest
            longest = max(longest, size_of(part))
            failures = 1 if grown else failures + 1
            if failures >= ATTEMPTS:
                raise JobError(
                    f"{url}: {cut}, {ATTEMPTS} times in a row. {longest} bytes are kept in {part}. "
                    f"Run again to go on from there. {remedy}".rstrip()
                ) from cut
            print(f"{url}: {cut}; going on after {size_of(part)} bytes", file=sys.stderr)
            time.sleep(BACKOFF * 2 ** (failures - 1))
            continue
        problem = expected.mismatch(part)
        if problem is None:
            finish(part, path)
            return
        discard(part)
        if not resumed or restarted:
            raise JobError(
                f"{url}: {problem}. The file was thrown away: it is altered or truncated at its source, or the config "
                f"states another one. Compare the SHA-256 in the config with the publisher's. {remedy}".rstrip()
            )
        restarted, longest = True, 0  # pieces of two versions, perhaps


def receive(url: str, part: Path, expected: ExpectedFile, headers: dict[str, str], remedy: str) -> None:
    """Append to `part` what is missing, in one request.

    Raises TransferInterrupted where another attempt may help, JobError where not.
    """
    import requests

    part.parent.mkdir(parents=True, exist_ok=True)
    mark = part.with_name(part.name + ".etag")
    etag = mark.read_text() if mark.exists() else ""
    if not (etag or expected.sha256 or expected.blob):
        discard(part)  # nothing would show that the two pieces belong together
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
                # The part is as long as the file, or longer.
                if response.headers.get("Content-Range") == f"bytes */{start}":
                    return
                discard(part)
                raise TransferInterrupted("the server's file is shorter than the part that is here")
            if status in CUT_STATUS:
                raise TransferInterrupted(f"HTTP status {status}")
            if status not in (200, 206):
                raise JobError(f"{url}: HTTP status {status} {response.reason}. {remedy}".rstrip())
            if status == 200:
                discard(part)  # a server that cannot resume, or a changed file, sends all of it
                start = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                discard(part)
                raise TransferInterrupted(f"asked for bytes from {start}, got {response.headers.get('Content-Range')}")
            elif etag and validator(response.headers) not in ("", etag):
                discard(part)
                raise TransferInterrupted("the file changed under way")
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else expected.size
            chunked = response.headers.get("Transfer-Encoding") == "chunked"
            if total is None and not chunked and not (expected.sha256 or expected.blob):
                raise JobError(
                    f"{url}: neither the server states a length nor the config a SHA-256. State the SHA-256."
                )
            require_space(part.parent, (total or 0) - start)
            mark.write_text(validator(response.headers))
            append(response, part, start, total, url.rsplit("/", 1)[-1])
    except requests.exceptions.InvalidURL as problem:
        raise JobError(f"{url}: not a valid address ({problem})") from problem
    except requests.RequestException as problem:
        raise TransferInterrupted(f"{type(problem).__name__}: {problem}") from problem
    if total is not None and size_of(part) < total:
        raise TransferInterrupted(f"the connection ended at {size_of(part)} of {total} bytes")


def append(response, part: Path, start: int, total: int | None, label: str) -> None:
    from tqdm import tqdm

    # In a log file: nothing for a short transfer, then a line every half minute.
    pace = {"mininterval": 0.1} if sys.stderr.isatty() else {"mininterval": 30, "delay": 10}
    with (
        tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=label, **pace) as bar,
        out_of_space(part.parent, (total or 0) - start),
        open(part, "ab") as stream,
    ):
        for chunk in response.iter_content(CHUNK):
            stream.write(chunk)
            bar.update(len(chunk))


def copy(source: Path, path: Path, expected: ExpectedFile, remedy: str = "") -> None:
    """Copy the file `source` to `path` under the same checks as a download."""
    if not source.is_file():
        raise JobError(f"{source}: no such file. {remedy}".rstrip())
    part = part_of(path)
    part.parent.mkdir(parents=True, exist_ok=True)
    size = source.stat().st_size
    require_space(part.parent, size)
    with out_of_space(part.parent, size):
        shutil.copyfile(source, part)
    if problem := expected.mismatch(part):
        discard(part)
        raise JobError(f"{source}: {problem}. The file is altered or truncated: bring it again. {remedy}".rstrip())
    finish(part, path)


def validator(headers) -> str:
    """What If-Range takes: a strong ETag, else the date of the last change, else nothing."""
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


def git_blob(path: Path) -> str:
    """git's id of a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def require_space(folder: Path, needed: int) -> None:
    """Stop before the first byte where `needed` bytes do not fit."""
    if needed > shutil.disk_usage(folder).free:
        raise no_space(folder, needed)


@contextlib.contextmanager
def out_of_space(folder: Path, needed: int = 0):
    """A full disk or quota becomes a JobError that names the folder."""
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(folder, needed) from problem
        raise


def no_space(folder: Path, needed: int) -> JobError:
    free = shutil.disk_usage(folder).free
    wanted = f"{needed / 1e6:.1f} MB are needed, " if needed > 0 else ""
    return JobError(
        f"No space left in {folder}: {wanted}{free / 1e6:.1f} MB are free (a quota may allow less). "
        "Make room, or point `pathvars: resources` to another disk, and run again: what has come is kept."
    )
