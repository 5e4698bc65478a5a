"""Files of web servers: source kind `url`."""

from pathlib import Path
from urllib.parse import urlsplit

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download
from hra_workflow.data.http_download import ExpectedFile
from hra_workflow.data.sources import Source


class Url(Source):
    lists_files = True

    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> None:
        for name, entry in self.entry["files"].items():
            self.fetch_file(entry["url"], files.path_inside(folder, name), ExpectedFile(entry["sha256"]))

    def fetch_file(self, url: str, path: Path, expected: ExpectedFile) -> None:
        """Download `url` to `path`, unless a correct file is already there."""
        if path.exists():  # from an earlier call, or put there by the user
            if problem := expected.mismatch(path):
                raise JobError(f"{path}: {problem}. Delete it, or replace it with the file of {url}.")
        else:
            remedy = f"If the file has moved, or without network access: save it as {path.absolute()} and run again."
            http_download.download(url, path, expected, remedy=remedy)

    def origin(self, name: str, commit: str | None = None) -> tuple:
        entry = self.entry["files"].get(name)
        return self.entry["kind"], entry and entry["url"]

    def for_probes(self) -> None:
        return None  # files at a URL have no configuration to build random weights from


def address(url: str) -> str:
    """Return a URL's host and path: the name of an archive in resources/archives."""
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path.rstrip('/')}"
