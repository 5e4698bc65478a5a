"""Files on the Hugging Face Hub, and an error for a refusal: source kind `hub`.

The Hub answers 401 to an invalid or expired token, and without one for a gated repository (X-Error-Code: GatedRepo) and
for one that does not exist; 403 if the licence is not accepted, a request for access is not granted yet, or the token
lacks the permission, each with its X-Error-Message; and 404 for a repository that does not exist or is private.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import listed
from hra_workflow.data import file_filters, http_download
from hra_workflow.data.http_download import ExpectedFile
from hra_workflow.data.sources import OFFLINE, Source

TOKENS = "https://huggingface.co/settings/tokens"


class Hub(Source):
    lists_files = True

    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> str:
        """Download files of a repository and return their commit (if `revision` is a branch, its latest).

        The Hub reports size and hash of every file in its response to a HEAD request (SHA-256 for a large file, git's
        ID for a small one), which huggingface_hub requests; `http_download` transfers the bytes, as it can resume.
        """
        source, repo, revision = self.entry, self.entry["repo"], self.entry["revision"]
        for name, sha256 in self.files(file_filters.wanted(dataset, tables=True)).items():
            path = files.path_inside(folder, name)
            if path.exists():
                continue
            url, headers, expected, commit = file(source, name)
            if commit and commit != revision:
                print(f"{repo}: `revision: {revision}` is a branch, now at {commit}. Put that commit into the config.")
                source, revision = source | {"revision": commit}, commit
                url, headers, expected, _ = file(source, name)
            if sha256 and expected.sha256 and sha256 != expected.sha256:
                raise JobError(
                    f"{repo}: the config specifies SHA-256 {sha256} for {name}, the Hub reports {expected.sha256} at "
                    f"commit {revision}. Correct the config."
                )
            expected = ExpectedFile(sha256 or expected.sha256, expected.size, expected.blob)
            http_download.download(url, path, expected, headers, OFFLINE)
        return revision

    def files(self, wanted: Callable[[str], bool]) -> dict[str, str | None]:
        """Return the files with their hashes: those that the source lists, or the wanted ones of the repository."""
        if "files" in self.entry:
            return self.entry["files"]
        repo, revision, found = self.entry["repo"], self.entry["revision"], names(self.entry)
        if not (chosen := sorted(filter(wanted, found))):
            raise JobError(f"{repo}: no usable files at {revision} among {listed(found) or 'none'}. Correct `repo`.")
        return dict.fromkeys(chosen)

    def origin(self, name: str, commit: str | None = None) -> tuple:
        return self.entry["repo"], self.entry.get("repo_type"), commit or self.entry["revision"], name

    def missing_token(self) -> str | None:
        return missing_token(self.entry)

    def for_probes(self) -> dict:
        return {
            "kind": "init",
            "generator": "hra_workflow.models.pretrained:configurations",
            "source": self.entry,
        }


def file(source: dict, name: str) -> tuple[str, dict[str, str], ExpectedFile, str | None]:
    """Return URL, request headers (with the token, if any), expected content and commit of a file of a `hub` source.

    Raises JobError if the Hub refuses, with a message per reason.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    if problem := missing_token(source):
        raise JobError(problem)
    repo, revision, endpoint = source["repo"], source["revision"], os.environ.get("HF_ENDPOINT")
    url = hf_hub_url(repo, name, repo_type=source.get("repo_type"), revision=revision, endpoint=endpoint)
    with hub_errors(source, name, url):
        metadata = get_hf_file_metadata(url, endpoint=endpoint, retry_on_errors=True)
    etag = metadata.etag or ""
    expected = ExpectedFile(
        sha256=etag if len(etag) == 64 else None, size=metadata.size, blob=etag if len(etag) == 40 else None
    )
    return url, build_hf_headers(), expected, metadata.commit_hash


def names(source: dict) -> list[str]:
    """List the files of a `hub` source's repository; raise JobError as `file` does."""
    from huggingface_hub import HfApi

    if problem := missing_token(source):
        raise JobError(problem)
    with hub_errors(source, "the list of files", page(source)):
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        return api.list_repo_files(source["repo"], revision=source["revision"], repo_type=source.get("repo_type"))


@contextlib.contextmanager
def hub_errors(source: dict, what: str, address: str) -> Iterator[None]:
    """Raise JobError instead of the errors of a request to the Hub."""
    from huggingface_hub import errors

    repo, revision = source["repo"], source["revision"]
    try:
        yield
    except errors.RevisionNotFoundError as problem:
        raise JobError(f"{repo}: the Hub has no commit {revision}. Correct `revision`.") from problem
    except errors.EntryNotFoundError as problem:
        raise JobError(f"{repo}: no file {what} at commit {revision}. Correct `files`.") from problem
    except errors.OfflineModeIsEnabled as problem:
        raise JobError(
            f"{repo}: {what} must be downloaded, but HF_HUB_OFFLINE is set. Unset it. {OFFLINE}"
        ) from problem
    except errors.HTTPError as problem:
        if text := refusal(source, getattr(problem, "response", None)):
            raise JobError(text) from problem
        reason = " ".join(str(problem).split())  # one line, because the user sees the last line of the log
        raise JobError(f"{repo}: the request for {what} ({address}) failed: {reason} {OFFLINE}") from problem


def token_place() -> str | None:
    """Return the source of this machine's token, a variable or a file; None if it has none. Needs no network."""
    from huggingface_hub import constants  # not get_token, which may renew a token over the network

    for name in ("HF_OIDC_RESOURCE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name, "").strip():
            return name
    path = Path(constants.HF_TOKEN_PATH)
    return str(path) if path.is_file() and path.read_text().strip() else None


def missing_token(source: dict) -> str | None:
    """Describe that a source is gated and this machine has no token; None otherwise. Needs no network."""
    return no_access(source, "gated") if source.get("gated") and not token_place() else None


def no_access(source: dict, reason: str) -> str:
    place = token_place()
    token = f"this machine's token (from {place})" if place else "there is no token on this machine"
    return (
        f"{source['repo']}: no access: {reason}; {token}. For a gated or private repository, accept the "
        f"licence at {page(source)}, create a token of type Read at {TOKENS}, and run `hf auth login` or set HF_TOKEN; "
        "otherwise correct `repo` and `repo_type`."
    )


def refusal(source: dict, response) -> str | None:
    """Return why the Hub refused a request, and what to do; None if not for lack of access (no response, 5xx, …)."""
    if response is None:
        return None
    status, code = response.status_code, response.headers.get("X-Error-Code")
    if status != 401 and (status, code) != (404, "RepoNotFound") and not (status == 403 and token_place()):
        return None
    message = response.headers.get("X-Error-Message", "").strip().rstrip(".")
    return no_access(source, message or f"status {status}")


def page(source: dict) -> str:
    return f"https://huggingface.co/{'datasets/' if source.get('repo_type') == 'dataset' else ''}{source['repo']}"
