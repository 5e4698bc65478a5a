"""Access to the Hugging Face Hub: a message and a remedy per reason for a refusal."""

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.data.sources import hub

COMMIT = "c0ffee" + "0" * 34
SOURCE = {"kind": "hub", "repo": "org/model", "revision": COMMIT, "files": {"config.json": None}}

# What the Hub answers: (token sent, status, X-Error-Code, X-Error-Message), and the expected message.
RESTRICTED = "Access to model org/model is restricted"
NO_TOKEN = (False, 401, "GatedRepo", f"{RESTRICTED}. You must have access to it and be authenticated. Please log in.")
NO_LICENCE = (
    True,
    403,
    "GatedRepo",
    f"{RESTRICTED} and you are not in the authorized list. Visit the page to ask.",
)
PENDING = (True, 403, "GatedRepo", "Your request to access model org/model is awaiting a review from the repo authors.")
NO_PERMISSION = (
    *(True, 403, ""),
    "Please enable access to public gated repositories in your fine-grained token settings to view this repository.",
)
INVALID = (True, 401, "", "Invalid credentials in Authorization header")
EXPIRED = (True, 401, "", 'User Access Token "mine" is expired')
UNKNOWN = (False, 401, "", "Invalid username or password.")
HIDDEN = (True, 404, "RepoNotFound", "Repository not found")
PAGE = r"https://huggingface\.co/org/model"
REFUSALS = [
    (NO_TOKEN, rf"gated, and there is no token on this machine\. Accept the licence at {PAGE}.*`hf auth login`"),
    (NO_LICENCE, rf"refuses this machine's token \(from HF_TOKEN\): {RESTRICTED} .*Accept the licence at {PAGE}"),
    (PENDING, r"refuses this machine's token.*: Your request .* is awaiting a review"),
    (NO_PERMISSION, r"token \(from HF_TOKEN\): Please enable access to public gated.*edit the token at https://hugg"),
    (INVALID, r"does not accept this machine's token \(from HF_TOKEN\): Invalid cred.*Create a new one"),
    (EXPIRED, 'does not accept this machine\'s token.*"mine" is expired. Create a new one'),
    (UNKNOWN, r"no such model, or it is private and hidden from this machine, which has no token\. Correct `repo`"),
    (HIDDEN, r"no such model, or it is private and hidden from this machine's token"),
    ((True, 404, "RevisionNotFound", "Invalid rev id"), rf"no commit {COMMIT}"),
    ((True, 404, "EntryNotFound", "Entry not found"), r"no file config\.json at commit"),
    ((False, 403, "", "no"), r"request for config\.json.*failed.*set `mirror`"),  # of a proxy, for example
]


@pytest.mark.parametrize(("answer", "message"), REFUSALS)
def test_every_refusal_has_its_own_message(hub_server, monkeypatch, answer, message):
    token, status, code, said = answer
    if token:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
    headers = {"X-Error-Message": said} | ({"X-Error-Code": code} if code else {})
    hub_server.refuse[f"/org/model/resolve/{COMMIT}/config.json"] = (status, headers)
    with pytest.raises(JobError, match=message) as refused:
        hub.file(SOURCE, "config.json")
    assert "\n" not in str(refused.value) and "hf_secret" not in str(refused.value)
    sent = {key.lower(): value for key, value in hub_server.requests[0]["headers"].items()}
    assert sent.get("authorization") == ("Bearer hf_secret" if token else None)


def test_a_gated_source_without_a_token_is_refused_before_the_first_request(hub_server):
    with pytest.raises(JobError, match="org/model: gated, and there is no token on this machine"):
        hub.file(SOURCE | {"gated": True}, "config.json")
    assert hub_server.requests == []


def test_a_token_is_found_without_the_network(hub_server, tmp_path, monkeypatch):
    from huggingface_hub import constants

    assert hub.token_place() is None
    stored = tmp_path / "token"
    stored.write_text("hf_secret\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(stored))
    assert hub.token_place() == str(stored)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert hub.token_place() == "HF_TOKEN"
    assert hub_server.requests == []
