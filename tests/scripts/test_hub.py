"""Access to the Hugging Face Hub: a refusal's reason and remedy."""

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.data.sources import hub
from served import COMMIT, CONTENT, SHA256, fetch, names


def source(sha256=None) -> dict:
    files = {"config.json": None, "model.safetensors": sha256}
    return {"kind": "hub", "repo": "org/model", "revision": COMMIT, "files": files}


PAGE, RESTRICTED = r"https://huggingface\.co/org/model", "Access to model org/model is restricted"
# What the Hub answers: (token sent, status, X-Error-Code, X-Error-Message), and the expected message.
REFUSALS = [
    ((False, 401, "GatedRepo", RESTRICTED), rf"{RESTRICTED}; there is no token.*licence at {PAGE}.*`hf auth login`"),
    ((True, 403, "GatedRepo", RESTRICTED), rf"{RESTRICTED}; this machine's token \(from HF_TOKEN\)\. For a gated"),
    ((True, 401, "", "Invalid credentials"), r"Invalid credentials; this machine's token.*create a token"),
    ((True, 404, "RepoNotFound", "Repository not found"), r"Repository not found; this machine's token"),
    ((True, 404, "RevisionNotFound", "Invalid rev id"), rf"no commit {COMMIT}"),
    ((True, 404, "EntryNotFound", "Entry not found"), r"no file config\.json at commit"),
    ((False, 403, "", "no"), r"request for config\.json.*failed.*copy `resources`"),  # of a proxy, for example
]


@pytest.mark.parametrize(("answer", "message"), REFUSALS)
def test_a_refusal_is_an_error_with_its_reason_and_remedy(hub_server, monkeypatch, answer, message):
    token, status, code, said = answer
    if token:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
    headers = {"X-Error-Message": said} | ({"X-Error-Code": code} if code else {})
    hub_server.refuse[f"/org/model/resolve/{COMMIT}/config.json"] = (status, headers)
    with pytest.raises(JobError, match=message) as refused:
        hub.file(source(), "config.json")
    assert "\n" not in str(refused.value) and "hf_secret" not in str(refused.value)
    assert ("Bearer hf_secret" in hub_server.requests[0]["headers"].values()) == token


def test_a_gated_source_without_a_token_is_refused_before_the_first_request(hub_server):
    with pytest.raises(JobError, match="org/model: no access: gated; there is no token on this machine"):
        hub.file(source() | {"gated": True}, "config.json")
    assert hub_server.requests == []


@pytest.fixture
def model(hub_server, patient):
    hub_server.hub_file("org/model", COMMIT, "model.safetensors", CONTENT)
    hub_server.hub_file("org/model", COMMIT, "config.json", b"{}", large=False)
    return hub_server


def test_hub(model, tmp_path):
    model.cut_after, model.cuts = 100_000, 1
    assert fetch(source(SHA256), tmp_path / "to") == COMMIT
    assert (tmp_path / "to/model.safetensors").read_bytes() == CONTENT
    assert names(tmp_path / "to") == ["config.json", "model.safetensors"]
    assert [asked is None for asked, _ in model.sent()] == [True, True, False]


@pytest.mark.parametrize(("name", "kind"), [("config.json", "git blob"), ("model.safetensors", "SHA-256")])
def test_hub_content_is_checked_though_the_config_states_no_hash(model, tmp_path, name, kind):
    path = f"/org/model/resolve/{COMMIT}/{name}"
    model.files[path] = bytes(len(model.files[path]))
    with pytest.raises(JobError, match=f"{name}.*expected {kind}"):
        fetch(source(), tmp_path / "to")
    assert name not in names(tmp_path / "to")


def test_hub_and_config_disagree(model, tmp_path):
    with pytest.raises(JobError, match=f"SHA-256 {'0' * 64} for model.safetensors, the Hub reports {SHA256}"):
        fetch(source("0" * 64), tmp_path / "to")


def test_the_token_does_not_follow_to_another_host(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    path, elsewhere = f"/org/model/resolve/{COMMIT}/model.safetensors", "/cdn/blob"
    model.files[elsewhere] = CONTENT
    location = model.address.replace("127.0.0.1", "localhost") + elsewhere
    model.refuse[path] = (302, {**model.headers[path], "Location": location})
    fetch(source(), tmp_path / "to")
    assert (tmp_path / "to/model.safetensors").read_bytes() == CONTENT
    sent = {request["path"]: "Bearer hf_secret" in request["headers"].values() for request in model.requests}
    assert sent[path] and not sent[elsewhere]
