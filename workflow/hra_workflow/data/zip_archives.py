"""Files of a downloaded dataset; files in zip archives are read in place, without unpacking the archive."""

import io
import stat
import sys
import zipfile
import zlib
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import listed

SHOWN = 3  # names in an error
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the ones that zipfile unpacks in bounded steps
RATIO, UNCHECKED = 200, 1 << 26  # maximum compression ratio of members larger than 64 MiB


class NamedBytes(io.BytesIO):
    """The content of a file, with its path as the name shown in errors."""

    def __init__(self, content: bytes, place: str):
        super().__init__(content)
        self.name = place

    def __str__(self) -> str:
        return self.name


class Folder:
    """Access to files by path: `archive.zip:path/in/it`, or the path of a file next to the archives."""

    def __init__(self, folder: Path):
        self.folder, self.opened = Path(folder), {}

    def read(self, place: str) -> NamedBytes:
        archive, _, path = place.rpartition(":")
        if not archive:
            found = self.file(path)
            return NamedBytes(found.read_bytes(), str(found))
        member = self.member(archive, path)
        try:
            with self.archive(archive).zip.open(path) as stream:
                # Without a limit, zipfile unpacks up to 2 GiB at once, regardless of the member's declared size.
                content = stream.read(member.file_size + 1)
            return NamedBytes(content, f"{self.folder / archive}:{path}")
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as problem:
            raise JobError(
                f"{self.folder / archive}: {path} is corrupted ({problem}). Download the archive again."
            ) from problem

    def find(self, place: str) -> None:
        """Raise JobError if a file does not exist."""
        archive, _, path = place.rpartition(":")
        if archive:
            self.member(archive, path)
        else:
            self.file(path)

    def file(self, path: str) -> Path:
        found = files.path_inside(self.folder, path)
        if not found.is_file():
            there = listed((path.name for path in self.folder.iterdir()), SHOWN) or "nothing"
            raise JobError(f"{found}: no such file. {self.folder} contains {there}.")
        return found

    def member(self, archive: str, path: str) -> zipfile.ZipInfo:
        members = self.archive(archive).members
        if path not in members:
            alike = [name for name in members if name.endswith("/" + path.rsplit("/", 1)[-1])]
            there = listed(alike or members, SHOWN) or "nothing"
            raise JobError(f"{archive}: expected {path} in it, found {there}. Correct the config.")
        return members[path]

    def names(self, pattern: str) -> list[str]:
        """List the paths that match a pattern with `*`, in alphabetical order."""
        archive, _, path = pattern.rpartition(":")
        if not archive:
            return sorted(found.relative_to(self.folder).as_posix() for found in self.folder.glob(path))
        return [f"{archive}:{name}" for name in sorted(self.archive(archive).members) if fnmatch(name, path)]

    def archive(self, name: str) -> "Archive":
        if name not in self.opened:
            self.opened[name] = Archive(files.path_inside(self.folder, name))
        return self.opened[name]


class Archive:
    def __init__(self, path: Path):
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as problem:
            raise JobError(
                f"{path}: expected a zip archive, found a truncated one or another file, such as an HTML error page "
                f"({problem}). Delete it and run again, or put a copy there by hand."
            ) from problem

    @cached_property
    def members(self) -> dict[str, zipfile.ZipInfo]:
        """Map names to files; raise JobError for a link and for a file that would be outside of the folder."""
        found = {member.filename: member for member in self.zip.infolist() if not member.is_dir()}
        for name, member in found.items():
            files.path_inside(self.path.parent, name)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise JobError(f"{self.path}: {name} is a link, which is not allowed.")
            if member.compress_type not in METHODS:
                raise JobError(f"{self.path}: {name} is neither stored nor deflated. Repack the archive.")
            if member.file_size > max(UNCHECKED, RATIO * member.compress_size):
                raise JobError(
                    f"{self.path}: {name} expands from {member.compress_size / 1e6:.1f} to "
                    f"{member.file_size / 1e6:.0f} MB, over {RATIO}:1. Check the origin of the archive, or store this "
                    "file uncompressed."
                )
        return found


def check_all(folder: Path) -> None:
    """Raise JobError unless all archives in a folder are intact."""
    for path in sorted(folder.rglob("*.zip")):
        print(f"{path.name}: {check(path)} files, intact", file=sys.stderr)


def check(path: Path) -> int:
    """Count the files in an archive; raise JobError unless all are intact and inside the folder."""
    archive = Archive(path)
    count = len(archive.members)
    try:
        damaged = archive.zip.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as problem:
        damaged = problem
    if damaged:
        raise JobError(
            f"{path}: {damaged} is corrupted. The archive is modified or truncated: delete it and run again."
        )
    return count
