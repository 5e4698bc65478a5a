"""The user's files, in a folder under `local_root`: source kind `local`.

A manifest lists them under `own`, each with its SHA-256 and its size, times and inode. Later comparisons, such as in a
dry run, hash only files for which these differ.
"""

from pathlib import Path

from hra_workflow import ROOT
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import listed
from hra_workflow.data import file_filters
from hra_workflow.data.http_download import ExpectedFile
from hra_workflow.data.sources import Source

STAT = {"bytes": "st_size", "mtime_ns": "st_mtime_ns", "ctime_ns": "st_ctime_ns", "inode": "st_ino"}


class Local(Source):
    remote = False
    own = True

    def user_files(self, dataset: dict | None = None) -> dict[str, Path]:
        """Return name -> path of the files that a download reads on this machine.

        `dataset`: its entry as the download gets it, None for a model. Hidden files are excluded, unless `files` names
        them. Raises JobError if the folder or one of the files does not exist.
        """
        place = self.folder()
        if self.states_files(dataset):
            found = {name: place / name for name in self.entry.get("files") or file_filters.of_splits(dataset or {})}
        else:
            shown, wanted = visible(place), file_filters.wanted(dataset)
            found = {name: path for name, path in shown.items() if wanted(name)}
            if not found:
                raise JobError(
                    f"{place}: expected usable files (images: {file_filters.ENDINGS}), found "
                    f"{listed(shown) or 'none'}. Add some, or correct `path`."
                )
        if missing := [str(path) for path in found.values() if not path.is_file()]:
            there = listed(sorted(one.name for one in place.iterdir())) or "none"
            raise JobError(
                f"No file {listed(missing)}. {place} contains: {there}. Save it there, or correct the config."
            )
        return found

    def states_files(self, dataset: dict | None) -> bool:
        """Return whether the config names the files; otherwise all files of the folder are read."""
        return "files" in self.entry or "splits" in (dataset or {})

    def folder(self) -> Path:
        """Return the folder of the user's files; raise JobError if it does not exist."""
        place = self.place
        if not place.is_dir():
            raise JobError(
                f"expected a folder at {place}, found none (path {self.entry['path']!r} under local_root "
                f"{self.local_root!r}). Put the files there, or correct one of the two."
            )
        return place

    @property
    def place(self) -> Path:
        """The path of the folder. ./…: in the working directory, or else in the workflow's folder."""
        path = self.entry["path"]
        if not path.startswith("./"):
            return (Path(self.local_root).expanduser() / path).resolve()
        return (Path(path) if Path(path).exists() else Path(ROOT, path)).resolve()

    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> None:
        """Link the files, which are read in place and not copied; raise JobError if a file has another hash."""
        hashes = self.entry.get("files", {})
        for name, found in self.user_files(dataset).items():
            if problem := ExpectedFile(hashes.get(name)).mismatch(found):
                raise JobError(f"{found}: {problem}. Restore the file, or correct the SHA-256 in the config.")
            path = files.path_inside(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(found)


def visible(place: Path) -> dict[str, Path]:
    """Return the files below a folder by their names there, without hidden ones.

    Raises JobError for links to folders, which are never followed, or to nothing.
    """
    every = {path.relative_to(place): path for path in sorted(place.rglob("*"))}
    shown = {
        name.as_posix(): path for name, path in every.items() if not any(part.startswith(".") for part in name.parts)
    }
    if unread := [name for name, path in shown.items() if path.is_symlink() and not path.is_file()]:
        raise JobError(
            f"{place}: expected files and folders, found links to a folder or to nothing, which are not read: "
            f"{listed(unread)}. Replace or remove them."
        )
    return {name: path for name, path in shown.items() if path.is_file()}


def describe_files(user_files: dict[str, Path], known: dict[str, dict]) -> dict[str, dict]:
    """Return the entry of every file in a manifest: size, times, inode and SHA-256; `known`: an earlier listing."""
    found = {}
    for name, path in user_files.items():
        try:
            stat = path.stat()
            facts = {key: getattr(stat, attribute) for key, attribute in STAT.items()}
            before = known.get(name, {})
            same = facts.items() <= before.items()
            found[name] = facts | {"sha256": before["sha256"] if same else files.sha256(path)}
        except OSError as problem:
            raise JobError(f"{path}: {problem.strerror}. Make the file readable.") from problem
    return found


def hashes(listing: dict[str, dict]) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in listing.items()}


def plain(listing: dict[str, dict]) -> dict[str, dict]:
    """Return only size and hash of every file, as manifests list files of any origin."""
    return {name: {"bytes": entry["bytes"], "sha256": entry["sha256"]} for name, entry in listing.items()}


def located(text: str, place: Path) -> str:
    """Complete an error about the user's files with their folder."""
    return text if str(place) in text else f"{text} The files are in {place}."
