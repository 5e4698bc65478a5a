"""Files by URL: busy servers, files that the user puts there, first digits of a hash, shared archives."""

import email.utils
import io
import time
import zipfile
from types import SimpleNamespace

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download
from served import CONTENT, PATH, SHA256, fetch, names, url_source


@pytest.fixture
def waits(monkeypatch):
    """Provide the waiting times of http_download in seconds, which take no time."""
    times = []
    monkeypatch.setattr(http_download, "time", SimpleNamespace(sleep=times.append))
    return times


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("after", "shortest", "longest", "line"),
    [
        (lambda: "200", 200, 200, "waiting 3 minutes, as the server asks"),
        (lambda: email.utils.formatdate(time.time() + 600, usegmt=True), 500, 600, "as the server asks"),
        (lambda: None, 15, 15, "waiting 15 seconds"),
        (lambda: "soon", 15, 15, "waiting 15 seconds"),
    ],
    ids=["seconds", "date", "none", "invalid"],
)
def test_a_busy_server_is_given_its_time(
    server, tmp_path, waits, monkeypatch, capfd, status, after, shortest, longest, line
):
    def forgive(seconds):
        waits.append(seconds)
        server.refuse.clear()

    monkeypatch.setattr(http_download.time, "sleep", forgive)
    server.refuse[PATH] = (status, {"Retry-After": after()} if after() else {})
    fetch(url_source(server), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT and len(server.requests) == 2
    assert len(waits) == 1 and shortest <= waits[0] <= longest
    (printed,) = [text for text in capfd.readouterr().err.splitlines() if "HTTP status" in text]
    assert f"HTTP status {status}; waiting" in printed and line in printed


def test_a_server_that_stays_busy_has_a_remedy_of_its_own(server, tmp_path, waits):
    server.refuse[PATH] = (429, {})
    with pytest.raises(JobError, match=r"HTTP status 429 for 8 minutes: it limits the number of requests per address"):
        fetch(url_source(server), tmp_path)
    assert waits == [15, 30, 60, 120, 240]
    server.refuse[PATH] = (503, {"Retry-After": "300"})
    with pytest.raises(JobError, match=r"HTTP status 503 and asks to wait 5 minutes: it is overloaded .*run again"):
        fetch(url_source(server), tmp_path)
    assert waits[5:] == [300, 300, 300]
    waits.clear()
    server.refuse[PATH] = (429, {"Retry-After": "3300"})  # longer than anybody wants to look at a waiting job
    with pytest.raises(JobError, match=r"asks to wait 55 minutes: .*from another network.*set `mirror`"):
        fetch(url_source(server), tmp_path)
    assert waits == []
    server.refuse[PATH] = (429, {"Retry-After": "0"})  # such a server is not asked without a pause
    with pytest.raises(JobError, match="HTTP status 429"):
        fetch(url_source(server), tmp_path)
    assert waits == [15, 30, 60, 120, 240]


# Files that the user puts there


def test_a_file_that_has_moved_can_be_put_there_by_hand(server, tmp_path):
    server.refuse[PATH] = (404, {})
    place = tmp_path / "file.bin"
    with pytest.raises(
        JobError,
        match=rf"HTTP status 404.*save it as {place} and run again, .* contains url/127\.0\.0\.1/data/file\.bin",
    ):
        fetch(url_source(server), tmp_path)
    server.requests.clear()
    place.write_bytes(CONTENT[:-1])
    with pytest.raises(JobError, match=r"file\.bin: expected SHA-256 .* Delete it, or replace it"):
        fetch(url_source(server), tmp_path)
    place.write_bytes(CONTENT)
    fetch(url_source(server), tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("digits", [8, 10])
def test_the_first_digits_of_a_hash(server, tmp_path, digits):
    fetch(url_source(server, SHA256[:digits]), tmp_path)
    assert names(tmp_path) == ["file.bin"]
    wrong = ("0" if SHA256[0] != "0" else "1") + SHA256[1:digits]
    with pytest.raises(JobError, match=rf"expected SHA-256 {wrong}…, found {SHA256}"):
        fetch(url_source(server, wrong), tmp_path / "other")
    assert names(tmp_path) == ["file.bin"]


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
        (
            {"files": {"00.jpg": "0" * 64}},
            r"https://a/repo\.zip: repo-c0ffee/dataset/dog/00\.jpg: expected SHA-256 0000",
        ),
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
    place = tmp_path / "mirror/url/127.0.0.1/org"
    place.mkdir(parents=True)
    (place / "repo.zip").write_bytes(zipped(ARCHIVED))
    server.files.clear()
    fetch(source, tmp_path / "b/raw", str(tmp_path / "mirror"))
    assert names(tmp_path / "b/raw") == ["00.jpg"]
