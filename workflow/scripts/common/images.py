"""Pictures in and out: photographs as people have them, and generated ones in tar files of the WebDataset layout.

A tar file holds {key}.png and {key}.json for every picture, in order, without dates or owners: the same pictures give
the same bytes.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from common import pixel_ranges
from common.job import JobError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Picture:
    """One generated picture: its key, the bytes of its PNG file, and what is known about it."""

    key: str
    png: bytes
    about: dict

    @property
    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.png)).convert("RGB")


def is_image(path: str | Path) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


def listed(folder: Path) -> list[Path]:
    """The image files of a folder, by name."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file() and is_image(path))
    if not found:
        raise JobError(f"{folder}: no images. A subject is a folder of 3 to 6 of them ({' '.join(sorted(SUFFIXES))}).")
    return found


def load(path: str | Path) -> Image.Image:
    """An image file the right way up, in RGB; transparent parts become white. JobError if it is not whole.

    Greyscale of 16 bits or of floats is scaled by its range; JobError if that is unknown.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = pixel_ranges.to_8_bit(ImageOps.exif_transpose(image), str(path))
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            return upright.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as problem:
        raise JobError(f"{path}: not a whole image ({problem}). Replace or remove it.") from problem


def check(folder: Path, smallest: int) -> int:
    """Number of images in a subject's folder; JobError unless each can be read and fills `smallest` pixels square."""
    paths = listed(folder)
    for path in paths:
        size = load(path).size
        if min(size) < smallest:
            raise JobError(
                f"{path}: {size[0]} × {size[1]} pixels, but training crops {smallest} × {smallest}. "
                "Give a larger image, or lower tasks.subject.resolution."
            )
    return len(paths)


def to_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "png")
    return stream.getvalue()


def pack(path: str | Path, pictures: Iterable[Picture]) -> None:
    """Write a tar file; it is whole or absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
            for picture in pictures:
                about = json.dumps(picture.about, ensure_ascii=False).encode()
                for suffix, content in (("png", picture.png), ("json", about)):
                    member = tarfile.TarInfo(f"{picture.key}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk is to be left with what is of use
        raise


def unpack(path: str | Path) -> Iterator[Picture]:
    """The pictures of a tar file, in order."""
    try:
        with tarfile.open(path, "r:") as archive:
            png: tuple[str, bytes] | None = None
            for member in archive:
                key, _, suffix = member.name.rpartition(".")
                content = archive.extractfile(member).read()
                if len(content) != member.size:
                    raise tarfile.ReadError("unexpected end of data")
                if suffix == "png":
                    png = key, content
                elif png and png[0] == key:
                    yield Picture(key, png[1], json.loads(content))
                else:
                    raise tarfile.ReadError(f"{member.name} without its image")
    except (tarfile.TarError, OSError, ValueError) as problem:
        raise JobError(f"{path} is cut off or damaged ({problem}). Delete it and run again.") from problem


def complete(pictures: Iterable[Picture], expected: list[str], where: str) -> Iterator[Picture]:
    """The pictures as they come; JobError unless they are the expected keys, once each, in this order."""
    wanted = iter(expected)
    for picture in pictures:
        if picture.key != (key := next(wanted, None)):
            raise JobError(f"{where}: expected image {key}, found {picture.key}. Delete the shards and run again.")
        yield picture
    if missing := list(wanted):
        raise JobError(
            f"{where}: {len(missing)} of {len(expected)} images are missing, first {missing[0]}. "
            "Delete the shards and run again."
        )
