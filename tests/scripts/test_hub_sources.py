"""Files from the Hub."""

import time

import pytest

from hra_workflow.core.errors import JobError
from served import COMMIT, CONTENT, SHA256, fetch, names

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def hub(hub_server):
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
