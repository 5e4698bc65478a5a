"""Files of a downloaded dataset; those in zip archives are read in place, and never unpacked as they are."""

import io
import stat
import zipfile
import zlib
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from common.core.errors import JobError
from common.data import sources

SHOWN = 3  # names in an error
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that zipfile unpacks in bounded steps
RATIO, UNCHECKED = 200, 1 << 26  # most bytes from a packed byte, in members above so many bytes (64 MiB)


class NamedBytes(io.BytesIO):
    """The content of a file, which errors name by its path."""

    def __init__(self, content: bytes, place: str):
        super().__init__(content)
        self.name = place

    def __str__(self) -> str:
        return self.name


class Folder:
    """Files by place: `archive.zip:path/in/it`, or the path of a file beside the archives."""

    def __init__(self, folder: Path):
        self.folder, self.opened = Path(folder), {}

    def read(self, place: str) -> NamedBytes:
        archive, _, path = place.rpartition(":")
        if not archive:
            found = sources.inside(self.folder, path)
            if not found.is_file():
                raise JobError(
                    f"{found}: no such file. {self.folder} holds {some(p.name for p in self.folder.iterdir())}."
                )
            return NamedBytes(found.read_bytes(), str(found))
        opened = self.archive(archive)
        if path not in opened.members:
            alike = [name for name in opened.members if name.endswith("/" + path.rsplit("/", 1)[-1])]
            raise JobError(f"{archive}: no {path} in it; it holds {some(alike or opened.members)}. Correct the config.")
        try:
            with opened.zip.open(path) as stream:
                # Asked for everything, zipfile unpacks up to 2 GiB at once, whatever size the member states.
                content = stream.read(opened.members[path].file_size + 1)
            return NamedBytes(content, f"{self.folder / archive}:{path}")
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as problem:
            raise JobError(
                f"{self.folder / archive}: {path} is damaged ({problem}). Download the archive again."
            ) from problem

    def names(self, pattern: str) -> list[str]:
        """Places that a pattern with `*` fits, by name."""
        archive, _, path = pattern.rpartition(":")
        if not archive:
            return sorted(found.relative_to(self.folder).as_posix() for found in self.folder.glob(path))
        return [f"{archive}:{name}" for name in sorted(self.archive(archive).members) if fnmatch(name, path)]

    def archive(self, name: str) -> "Archive":
        if name not in self.opened:
            self.opened[name] = Archive(sources.inside(self.folder, name))
        return self.opened[name]


class Archive:
    def __init__(self, path: Path):
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as problem:
            raise JobError(
                f"{path}: not a whole zip archive ({problem}). It is cut off, or is something else, perhaps a page "
                "that says why. Delete it and run again."
            ) from problem

    @cached_property
    def members(self) -> dict[str, zipfile.ZipInfo]:
        """The files by name; JobError for one that would lie outside of the folder, and for links."""
        found = {member.filename: member for member in self.zip.infolist() if not member.is_dir()}
        for name, member in found.items():
            sources.inside(self.path.parent, name)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise JobError(f"{self.path}: {name} is a link; refused.")
            if member.compress_type not in METHODS:
                raise JobError(f"{self.path}: {name} is neither stored nor deflated; refused. Pack the archive again.")
            if member.file_size > max(UNCHECKED, RATIO * member.compress_size):
                raise JobError(
                    f"{self.path}: {name} states {member.file_size / 1e6:.0f} MB from {member.compress_size / 1e6:.1f} "
                    f"MB, over {RATIO}:1; refused. Check where the archive comes from, or store this file unpacked."
                )
        return found


def check(path: Path) -> int:
    """Number of files in an archive; JobError unless each is whole and would stay inside a folder."""
    archive = Archive(path)
    count = len(archive.members)
    try:
        damaged = archive.zip.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as problem:
        damaged = problem
    if damaged:
        raise JobError(f"{path}: {damaged} is damaged. The archive is altered or cut off: delete it and run again.")
    return count


def some(names) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f", … ({len(names)})" if len(names) > SHOWN else "") or "nothing"
