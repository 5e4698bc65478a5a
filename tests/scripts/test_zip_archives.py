"""Archives: intact, truncated, modified, and with paths outside of the folder."""

import struct
import tracemalloc
import zipfile

import pytest

import download
import rule_jobs
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download, zip_archives

CONTENT = b"a picture, say" * 100


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as out:
        for number in (10, 2, 1):
            out.writestr(f"train/color/{number}.png", CONTENT)
        out.writestr("train/names.txt", "one")
    return path


def test_files_are_read_in_place(archive, tmp_path):
    (tmp_path / "plain.txt").write_text("beside it")
    folder = zip_archives.Folder(tmp_path)
    assert zip_archives.check(archive) == 4
    found = folder.read("data.zip:train/color/2.png")
    assert found.read() == CONTENT and str(found) == f"{archive}:train/color/2.png"
    assert folder.read("plain.txt").read() == b"beside it"
    places = folder.names("data.zip:train/color/*.png")
    assert [place.rpartition("/")[2] for place in places] == ["1.png", "10.png", "2.png"]
    assert folder.names("*.txt") == ["plain.txt"]


def test_an_archive_that_is_cut_off_or_altered(archive):
    content = archive.read_bytes()
    archive.write_bytes(content[:-100])
    with pytest.raises(JobError, match=r"data.zip: expected a zip archive, found a truncated one"):
        zip_archives.check(archive)
    place = content.index(CONTENT) + 20
    archive.write_bytes(content[:place] + b"X" + content[place + 1 :])
    for read in (zip_archives.check, lambda path: zip_archives.Folder(path.parent).read("data.zip:train/color/10.png")):
        with pytest.raises(JobError, match=r"data.zip: train/color/10.png is corrupted"):
            read(archive)
    archive.write_text("<html>File not found</html>")
    with pytest.raises(JobError, match=r"expected a zip archive, .* an HTML error page"):
        zip_archives.check(archive)


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("../../home/.bashrc", 0, "not a path inside a folder"),
        ("/etc/passwd", 0, "not a path inside a folder"),
        ("C:/x", 0, "not a path inside a folder"),
        ("elsewhere.png", 0o120777, r"data.zip: elsewhere.png is a link, which is not allowed"),
    ],
)
def test_a_link_and_a_path_that_leaves_the_folder_are_refused(tmp_path, name, mode, message):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as out:
        out.writestr("good.png", CONTENT)
        out.writestr(entry, "/etc/passwd")
    with pytest.raises(JobError, match=message):
        zip_archives.check(tmp_path / "data.zip")


def stating(path, size: int, **options):
    """Build an archive of zeros, 8 MiB, in which the file declares another size."""
    content, real = bytes(8 << 20), struct.pack("<I", 8 << 20)
    with zipfile.ZipFile(path, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as out:
        out.writestr("a.png", content)
    path.write_bytes(path.read_bytes().replace(real, struct.pack("<I", size)))


def test_a_file_that_is_larger_than_it_states_is_not_unpacked_further(tmp_path):
    stating(tmp_path / "data.zip", 1000)
    tracemalloc.start()
    try:
        with pytest.raises(JobError, match=r"data.zip: a.png is corrupted \(Bad CRC-32.*Download the archive again"):
            zip_archives.Folder(tmp_path).read("data.zip:a.png")
        with pytest.raises(JobError, match=r"data.zip: a.png is corrupted"):
            zip_archives.check(tmp_path / "data.zip")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (1 << 31, {}, r"a.png expands from 0.0 to 2147 MB, over 200:1"),
        (8 << 20, {"compression": zipfile.ZIP_BZIP2}, r"a.png is neither stored nor deflated"),
    ],
)
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, size, options, message):
    stating(tmp_path / "data.zip", size, **options)
    for read in (zip_archives.check, lambda path: zip_archives.Folder(path.parent).read("data.zip:a.png")):
        with pytest.raises(JobError, match=message):
            read(tmp_path / "data.zip")


def fetch(server, folder) -> dict:
    source = {"kind": "url", "files": {"data.zip": {"url": f"{server.address}/data.zip", "sha256": None}}}
    job = rule_jobs.download("dataset", folder / "set.manifest.json", source, dataset={"archives": True})
    download.main(job)
    return files.read_json(job["output"]["manifest"])


def test_an_archive_is_downloaded_whole_and_stays_one_file(loopback, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    loopback.files["/data.zip"] = archive.read_bytes()
    manifest = fetch(loopback, tmp_path / "out")
    assert manifest["files"] == {"data.zip": {"bytes": archive.stat().st_size, "sha256": files.sha256(archive)}}
    # Half of it, from a server that declares no more: detected by the archive's directory; no manifest is written.
    loopback.files["/data.zip"] = archive.read_bytes()[:1000]
    with pytest.raises(JobError, match=r"data.zip: expected a zip archive"):
        fetch(loopback, tmp_path / "half")
    assert not (tmp_path / "half/set.manifest.json").exists()
