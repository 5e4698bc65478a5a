"""Transfers over HTTP: cut, resumed, altered, refused."""

import errno
import hashlib
import io
import time
import zipfile
from types import SimpleNamespace

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download
from served import CONTENT, PATH, SHA256, fetch, names, url_source

pytestmark = pytest.mark.usefixtures("patient")


def test_a_cut_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.cut_after, server.cuts = 100_000, 1
    fetch(url_source(server), tmp_path)
    (first, given), (second, rest) = server.sent()
    assert (first, given) == (None, 100_000)
    start = int(second.removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= given and rest == len(CONTENT) - start
    assert server.requests[1]["headers"]["If-Range"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_server_that_always_cuts_and_cannot_resume_is_an_error(server, tmp_path):
    server.cut_after, server.ranges = 100_000, False
    with pytest.raises(JobError, match=r"5 times in a row.*kept in .*file\.bin\.part.*Run again"):
        fetch(url_source(server), tmp_path)
    assert not (tmp_path / "file.bin").exists()
    # The network is better now: the next run ends it.
    server.cut_after = None
    fetch(url_source(server), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("polite", [True, False])
def test_a_file_that_changed_is_not_glued(server, tmp_path, monkeypatch, polite):
    """Test a file without a known hash: only the ETag detects changes, by If-Range or in the response."""
    monkeypatch.setattr(http_download, "ATTEMPTS", 1)
    path, expected = tmp_path / "file", http_download.ExpectedFile()
    server.files[PATH], server.cut_after, server.cuts = CONTENT[::-1], 100_000, 1
    with pytest.raises(JobError, match=r"connection ended|IncompleteRead"):
        http_download.download(server.address + PATH, path, expected)
    assert not path.exists()
    server.files[PATH], server.if_range = CONTENT, polite
    monkeypatch.undo()
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    http_download.download(server.address + PATH, path, expected)
    assert path.read_bytes() == CONTENT
    assert server.sent()[1][0] is not None


def test_wrong_pieces_are_replaced_when_the_hash_shows_it(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 100_000)
    fetch(url_source(server), tmp_path)
    assert [asked for asked, _ in server.sent()] == ["bytes=100000-", None]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_altered_bytes_are_an_error_that_states_both_hashes(server, tmp_path):
    server.files[PATH] = CONTENT[::-1]
    came = hashlib.sha256(server.files[PATH]).hexdigest()
    with pytest.raises(JobError, match=f"expected SHA-256 {SHA256}, found {came}"):
        fetch(url_source(server), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("lie", [50_000, -50_000])
def test_a_wrong_length_is_an_error(server, tmp_path, lie):
    server.lie = lie
    with pytest.raises(JobError, match="5 times in a row" if lie > 0 else "expected SHA-256|5 times"):
        fetch(url_source(server), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_no_length_and_no_hash_is_refused(server, tmp_path):
    server.headers[PATH] = {"Content-Length": ""}
    with pytest.raises(JobError, match="Add the SHA-256"):
        http_download.download(server.address + PATH, tmp_path / "file", http_download.ExpectedFile())


def test_silence_is_a_cut(server, tmp_path, monkeypatch):
    monkeypatch.setattr(http_download, "TIMEOUT", 0.05)
    monkeypatch.setattr(http_download, "ATTEMPTS", 2)
    server.stand_still_after = 0
    with pytest.raises(JobError, match="2 times in a row"):
        fetch(url_source(server), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_no_space_on_the_way_keeps_the_part(server, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(http_download, "open", Full, raising=False)
    with pytest.raises(JobError, match=r"No space left in .*partial downloads are kept"):
        fetch(url_source(server), tmp_path)
    assert "file.bin" not in names(tmp_path)
    assert (tmp_path / "file.bin.part").stat().st_size > 100_000
    monkeypatch.undo()
    server.requests.clear()
    fetch(url_source(server), tmp_path)
    assert server.sent()[0][1] < 200_000


@pytest.fixture
def waits(monkeypatch):
    """Provide the waiting times of urllib3 in seconds, which take no time."""
    times = []
    monkeypatch.setattr("urllib3.util.retry.time", SimpleNamespace(sleep=times.append, time=time.time))
    return times


@pytest.mark.parametrize(
    ("status", "after", "waited"), [(429, None, [15, 30, 60, 120]), (503, "200", [200] * 5), (429, "3300", [300] * 5)]
)
def test_a_busy_server_is_asked_again_after_its_time(server, tmp_path, waits, status, after, waited):
    """Test that no wait is longer than anybody wants to look at a waiting job."""
    server.refuse[PATH] = (status, {"Retry-After": after} if after else {})
    with pytest.raises(JobError, match=rf"HTTP status {status} .*save it as .*/file.bin and run again"):
        fetch(url_source(server), tmp_path)
    assert waits == waited and len(server.requests) == 6


# Files that the user puts there


def test_a_file_that_has_moved_can_be_put_there_by_hand(server, tmp_path):
    server.refuse[PATH] = (404, {})
    place = tmp_path / "file.bin"
    with pytest.raises(JobError, match=rf"HTTP status 404.*save it as {place} and run again"):
        fetch(url_source(server), tmp_path)
    server.requests.clear()
    place.write_bytes(CONTENT[:-1])
    with pytest.raises(JobError, match=r"file\.bin: expected SHA-256 .* Delete it, or replace it"):
        fetch(url_source(server), tmp_path)
    place.write_bytes(CONTENT)
    fetch(url_source(server), tmp_path)
    assert server.requests == []


# Archives


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


ARCHIVED = {
    "repo-c0ffee/dataset/dog/00.jpg": CONTENT,
    "repo-c0ffee/dataset/cat/00.jpg": b"cat",
    "repo-c0ffee/run.py": b"1",
}


def archive_source(url: str, **changes) -> dict:
    source = {"kind": "archive", "url": url, "folder": "repo-c0ffee/dataset/dog", "files": {"00.jpg": SHA256}}
    return source | changes


def test_an_archive_s_files_are_verified_and_nothing_else_is_unpacked(tmp_path):
    (tmp_path / "repo.zip").write_bytes(zipped(ARCHIVED))
    fetch(archive_source("https://a/repo.zip"), tmp_path / "to", shared=tmp_path / "repo.zip")
    assert names(tmp_path / "to") == ["00.jpg"] and (tmp_path / "to/00.jpg").read_bytes() == CONTENT
    for changes, message in (
        ({"files": {"00.jpg": "0" * 64}}, r"https://a/repo\.zip: repo-c0ffee/dataset/dog/00\.jpg: expected SHA-256 0"),
        ({"files": {"00.jpg": SHA256, "01.jpg": SHA256}}, r"dataset/dog/01\.jpg: missing.*Correct"),
        ({"folder": "repo-main/dataset/dog"}, r"no usable files under .*repo-c0ffee/dataset/cat"),
    ):
        with pytest.raises(JobError, match=message):
            fetch(archive_source("https://a/repo.zip", **changes), tmp_path / "to", shared=tmp_path / "repo.zip")


def test_an_archive_that_is_not_at_hand_is_downloaded(server, tmp_path, monkeypatch):
    server.refuse["/org/repo.zip"] = (302, {"Location": "/codeload/repo"})  # as GitHub does
    server.files["/codeload/repo"] = zipped(ARCHIVED)
    server.headers["/codeload/repo"] = {"Transfer-Encoding": "chunked", "ETag": 'W/"1"'}
    server.cut_after, server.cuts, server.ranges = 40_000, 1, False
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    source = archive_source(f"{server.address}/org/repo.zip")
    fetch(source, tmp_path / "a/raw", shared=tmp_path / "deleted.zip")
    assert names(tmp_path / "a/raw") == ["00.jpg"]
    assert [request["path"] for request in server.requests] == ["/org/repo.zip", "/codeload/repo"] * 2
