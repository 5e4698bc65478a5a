"""Files in a folder of a zip archive that several sources may share: source kind `archive`."""

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download, zip_archives
from hra_workflow.data.http_download import ExpectedFile
from hra_workflow.data.sources import ARCHIVE, Source
from hra_workflow.data.sources.url import Url, address


class Archive(Url):
    @property
    def archive(self) -> str:
        return address(self.entry["url"])

    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> None:
        """Unpack the files and verify them: the hash of the archive itself may change.

        Without a `shared` one, which may be deleted when its sources are finished, it is downloaded next to `folder`.
        """
        url, inside, stated = (self.entry[key] for key in ("url", "folder", "files"))
        path = shared if shared and shared.exists() else folder.with_name(ARCHIVE)
        if path != shared:
            self.fetch_file(url, path, ExpectedFile())
        unpack(path, inside, folder, stated.__contains__)
        for name, sha256 in stated.items():
            path = files.path_inside(folder, name)
            if problem := ExpectedFile(sha256).mismatch(path) if path.exists() else "missing":
                path.unlink(missing_ok=True)
                raise JobError(f"{url}: {inside}/{name}: {problem}. Correct `url`, `folder` or `files`.")

    for_probes = Source.for_probes


def unpack(archive_path: Path, path: str, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack the files under `path` of a zip archive; raise JobError for one that would be written outside of it."""
    archive, prefix = zip_archives.Archive(archive_path), path.strip("/") + "/"
    named = {name.removeprefix(prefix): member for name, member in archive.members.items() if name.startswith(prefix)}
    members = {files.path_inside(folder, name): member for name, member in named.items() if wanted(name)}
    if not members:
        folders = sorted({str(PurePosixPath(name).parent) for name in archive.members})
        raise JobError(f"{archive_path.name}: no usable files under {path!r}; its folders: {', '.join(folders)}")
    with http_download.out_of_space(folder, sum(member.file_size for member in members.values())):
        for target, member in members.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.zip.open(member) as stream, open(target, "wb") as out:
                shutil.copyfileobj(stream, out)
