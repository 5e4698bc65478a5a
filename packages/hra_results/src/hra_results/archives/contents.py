"""The files of an archive, which is a folder or a zip file: listed, written, read and checked.

`manifest-sha256.txt` lists every other file in the format of `sha256sum`. Identical contents give identical zip files.
"""

import contextlib
import gzip
import hashlib
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from hra_workflow.core import files
from hra_workflow.core.errors import JobError, expect

LIST, ABOUT, CONFIG, README = "manifest-sha256.txt", "archive.json", "config.yaml", "README.md"
REPLACED, ENVIRONMENT, CRATE = "replaced.json", "environment.json", "ro-crate-metadata.json"
CROISSANT = "croissant.json"
FORMAT = 1  # of archive.json
PACKED = {".safetensors", ".gz", ".png", ".tar", ".zip"}  # stored in a zip file without compression
# Maximum compression ratio of files that unpack to more than 64 MiB, and bytes that are unpacked at once.
RATIO, UNCHECKED, STEP = 200, 1 << 26, 1 << 20
BEGINNING = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can have
REMEDY = "Download it again, or make it again (hra-workflow archive)."


class Archive:
    """The files of an archive by name. Raises JobError if it cannot be read."""

    def __init__(self, path: str | Path):
        self.path, self.zip = Path(path), None
        expect(self.path.exists(), f"{path}: expected a folder or a zip file, found none. Correct the path.")
        if self.path.is_dir():
            found = [one for one in sorted(self.path.rglob("*")) if not one.is_dir()]
            self.names = [one.relative_to(self.path).as_posix() for one in found]
            return
        try:
            self.zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as problem:
            raise JobError(f"{path}: expected a complete zip file, found a damaged one: {problem}. {REMEDY}") from None
        self.names = [name for name in self.zip.namelist() if not name.endswith("/")]
        expect(len({*self.names}) == len(self.names), f"{path}: expected every name once, found one twice. {REMEDY}")
        for name in self.names:
            parts = PurePosixPath(name)
            safe = not parts.is_absolute() and ".." not in parts.parts
            expect(safe, f"{path}: expected names of files in the archive, found {name!r}. Do not unpack it. {REMEDY}")
        for one in self.zip.infolist():
            self.check_size(one.filename, one.compress_size, one.file_size)

    def check_size(self, name: str, packed: int, unpacked: int) -> None:
        """Raise JobError if a file would fill the memory or the disk when it is unpacked."""
        expect(
            unpacked <= max(UNCHECKED, RATIO * packed),
            f"{self.path}: {name}: expected a file that unpacks to at most {UNCHECKED // 2**20} MiB or {RATIO} times "
            f"its size, found more ({packed:,} bytes). Do not unpack it. {REMEDY}",
        )

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file; raise JobError if it cannot be read to its end."""
        try:
            with self.zip.open(name) if self.zip else (self.path / name).open("rb") as stream:
                yield stream
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as problem:
            raise JobError(f"{self.path}: {name}: expected an intact file, found {problem}. {REMEDY}") from None

    def read(self, name: str) -> bytes:
        expect(
            name in self.names, f"{self.path}: expected an archive of `hra-workflow archive`, found no {name}. {REMEDY}"
        )
        with self.open(name) as stream:
            return stream.read()

    def place(self, name: str, copy: Path) -> None:
        """Put a file of the archive into an empty folder, without reading it at once."""
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not self.zip:
            copy.symlink_to((self.path / name).absolute())
            return
        with self.open(name) as stream, copy.open("wb") as new:
            shutil.copyfileobj(stream, new)

    def check_packed(self, name: str, copy: Path) -> None:
        """Raise JobError if a file in gzip format would fill the memory when it is read."""
        unpacked, packed = 0, copy.stat().st_size
        with contextlib.suppress(EOFError, OSError, zlib.error), gzip.open(copy) as stream:  # its reader names damage
            while part := stream.read(STEP):
                self.check_size(name, packed, unpacked := unpacked + len(part))

    def digest(self, name: str) -> str:
        with self.open(name) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def check(self) -> dict[str, str]:
        """Return the SHA-256 of all files by name; raise JobError unless they are the listed ones, byte for byte."""
        lines = self.read(LIST).decode().splitlines()
        listed = dict(line.split("  ", 1)[::-1] for line in lines if "  " in line)
        present = {*self.names} - {LIST}
        missing, unlisted = sorted(listed.keys() - present), sorted(present - listed.keys())
        expect(
            not missing,
            f"{self.path}: expected the {len(listed)} files of {LIST}, found no {', '.join(missing[:3])}"
            f"{f' and {len(missing) - 3} others' * (len(missing) > 3)}: it was cut short. {REMEDY}",
        )
        expect(
            not unlisted,
            f"{self.path}: expected only the files of {LIST}, found {', '.join(unlisted[:3])}. Remove it: it was added "
            "later.",
        )
        for name, stated in listed.items():
            found = self.digest(name)
            expect(
                found == stated,
                f"{self.path}: {name}: expected SHA-256 {stated}, found {found}. It was edited or damaged. {REMEDY}",
            )
        return listed

    def close(self) -> None:
        if self.zip:
            self.zip.close()


def content(source: bytes | Path) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def with_list(sources: Mapping[str, bytes | Path]) -> dict[str, bytes | Path]:
    """Add the list of the files; sources: their contents, or where they are copied from."""
    lines = []
    for name in sorted(sources):
        with content(sources[name]) as stream:
            lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {name}\n")
    return {name: sources[name] for name in sorted(sources)} | {LIST: "".join(lines).encode()}


@contextlib.contextmanager
def written(path: Path, sources: Mapping[str, bytes | Path]) -> Iterator[Path]:
    """Write an archive under a temporary name, which the caller checks; rename it to `path` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.sweep(path)
    temporary = files.own_name(path)
    try:
        write_zip(temporary, sources) if path.suffix == ".zip" else write_folder(temporary, sources)
        yield temporary
        expect_absent(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink(missing_ok=True)


def expect_absent(path: Path) -> None:
    expect(not path.exists(), f"{path}: expected no such file, found one. Name another: --to name.zip")
    folder = path.parent
    expect(folder.is_dir(), f"{path}: expected a file in an existing folder, found no {folder}. Correct --to")


def write_folder(folder: Path, sources: Mapping[str, bytes | Path]) -> None:
    for name, source in sources.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with content(source) as stream, place.open("wb") as copy:
            shutil.copyfileobj(stream, copy)


def write_zip(path: Path, sources: Mapping[str, bytes | Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in sources.items():
            entry = zipfile.ZipInfo(name, BEGINNING)
            entry.compress_type = zipfile.ZIP_STORED if Path(name).suffix in PACKED else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with content(source) as stream, archive.open(entry, "w", force_zip64=True) as copy:
                shutil.copyfileobj(stream, copy)


def as_json(value) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
