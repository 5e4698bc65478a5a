"""Reading user images (any format, EXIF-rotated), and generated images in tar files with the WebDataset layout.

A tar file contains {key}.png and {key}.json for every image, in order, without dates or owners, and their number and
what they were made from (core/made_from.py) in a header, so identical images give byte-identical files.
"""

import contextlib
import io
import json
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from PIL import Image, ImageOps

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data.file_filters import ENDINGS, is_image

# Pillow would try sixty decoders on a file, regardless of its name; one of them runs Ghostscript.
PHOTOGRAPHS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
OURS = ("PNG",)  # the format that this package writes
COUNT, MADE_FROM = "HRA.images", "HRA.made_from"  # keys in the tar file's global header
THREADS = 4  # Pillow decodes without the GIL


@dataclass(frozen=True)
class Picture:
    """One generated image: its key, the bytes of its PNG file, its metadata, and the tar file it was read from."""

    key: str
    png: bytes
    about: dict
    archive: str = field(default="its tar file", compare=False)

    @property
    def image(self) -> Image.Image:
        with decode(io.BytesIO(self.png), OURS, f"{self.key}.png", f"Delete {self.archive} and run again.") as image:
            return image.convert("RGB")


def listed(folder: Path) -> list[Path]:
    """List the image files of a folder in alphabetical order."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file() and is_image(path.name))
    if not found:
        raise JobError(f"{folder}: expected a folder of 3 to 6 images ({ENDINGS}), found none. Add some.")
    return found


@contextlib.contextmanager
def decode(
    source,
    formats: tuple[str, ...] = PHOTOGRAPHS,
    name: str | None = None,
    remedy: str = "Replace or remove it.",
    only_header: bool = False,
) -> Iterator[Image.Image]:
    """Decode an image file, given by path or as an open file; `formats`: Pillow's names of the accepted formats.

    only_header: check the file without decoding its pixels.
    Raises JobError with the file's name if it is truncated, corrupted, of another format, a decompression bomb, or has
    several images, such as the frames of an animation.
    """
    try:
        with Image.open(source, formats=formats) as image:
            count = getattr(image, "n_frames", 1)
            if count > 1 and image.format != "MPO":  # Pillow would decode the first; a camera adds a preview
                raise JobError(
                    f"{name or source}: expected one image, found {count}, the frames of an animation or pages. Save "
                    "one of them as a separate file, or remove it."
                )
            image.verify() if only_header else image.load()
            yield image
    except JobError:
        raise
    except Exception as problem:  # corrupted files make decoders raise struct.error, IndexError, …
        reason = f"{problem}; expected {', '.join(formats)}"
        raise JobError(f"{name or source}: cannot be decoded as an image ({reason}). {remedy}") from problem


def load(path: str | Path) -> Image.Image:
    """Load an image file in RGB, rotated by its EXIF tag; transparent parts become white.

    16-bit and floating-point greyscale is scaled by its range. Raises JobError if that is unknown or the file cannot be
    decoded.
    """
    with decode(path) as image:
        upright = to_8_bit(ImageOps.exif_transpose(image), str(path))
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        return upright.convert("RGB")


def to_8_bit(image: Image.Image, what: str) -> Image.Image:
    """Convert an image to 8 bits per channel: greyscale with 16 bits, or with floats in 0 to 1, is scaled to mode L.

    Pillow's conversion clips both at 255. Raises JobError, which calls the image `what`, if the range is unknown.
    """
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(levels(numpy.asarray(image), f"{what}, an image of mode {image.mode}"))
    return image


def levels(values: numpy.ndarray, what: str) -> numpy.ndarray:
    """Scale to uint8, rounded: booleans and unsigned 8- and 16-bit integers from their range, floats from 0 to 1."""
    if values.dtype == numpy.uint8:
        return values
    kind, size = values.dtype.kind, values.dtype.itemsize
    top = {"b": 1, "u": 65535 if size == 2 else 0, "f": 1}.get(kind, 0)
    scaled = numpy.rint(values.astype(numpy.float64) * (255 / top)) if top else numpy.array(numpy.nan)
    if not ((scaled >= 0) & (scaled <= 255)).all():  # false for NaN
        found = f"{values.min()} to {values.max()}"
        raise JobError(
            f"{what}: expected 0 to 255 in 8 bits, 0 to 65535 in 16 bits or 0 to 1 in floats, found {found}. "
            "Scale it to one of these ranges."
        )
    return scaled.astype(numpy.uint8)


def to_png(image: Image.Image, level: int = -1) -> bytes:
    """Encode an image; `level`: zlib's, 0 to 9, or its default."""
    stream = io.BytesIO()
    image.save(stream, "png", compress_level=level)
    return stream.getvalue()


def pack(path: str | Path, pictures: Iterable[Picture], count: int | None = None, head: dict | None = None) -> None:
    """Write a tar file atomically. `count`: the number of images if `pictures` has no length; `head`: their origin."""
    count, written = len(pictures) if count is None else count, 0
    # tarfile cannot read an archive that consists of a global header only, so one without images has no head.
    entries = ({COUNT: str(count)} | ({MADE_FROM: json.dumps(head)} if head else {})) if count else {}
    header = {"format": tarfile.PAX_FORMAT, "pax_headers": entries}
    with files.replacing(path) as temporary, tarfile.open(temporary, "w", **header) as archive:
        for picture in pictures:
            about = json.dumps(picture.about, ensure_ascii=False).encode()
            for suffix, content in (("png", picture.png), ("json", about)):
                member = tarfile.TarInfo(f"{picture.key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            written += 1
        if written != count:
            raise JobError(f"{path}: expected {count} images, found {written}. Delete the shards and run again.")


def made_from(path: str | Path) -> dict:
    """Return what a tar file's images were made from, from its head; {} if it has none."""
    return read_head(path)[0]


def read_head(path: str | Path) -> tuple[dict, int]:
    """Return what a tar file's images were made from, {} if it has none, and the stated number of images."""
    try:
        with tarfile.open(path, "r:") as archive:
            head = archive.pax_headers
            return files.parse_object(head.get(MADE_FROM, "{}").encode()), int(head.get(COUNT, "0"))
    except (tarfile.TarError, OSError, ValueError) as problem:
        raise damaged(path, problem) from problem


def damaged(path: str | Path, problem: Exception) -> JobError:
    return JobError(f"{path} is truncated or corrupted ({problem}). Delete it and run again.")


def unpack(path: str | Path, wanted: Callable[[dict], bool] | None = None) -> Iterator[Picture]:
    """Iterate over the images of a tar file; raise JobError, at the end at the latest, if it is not intact.

    `wanted`: function of an image's metadata; the PNG files of the other images are skipped and their `png` is empty.
    None: all are wanted.
    """

    def content(member: tarfile.TarInfo) -> bytes:
        found = archive.extractfile(member).read()
        if len(found) != member.size:
            raise tarfile.ReadError("unexpected end of data")
        return found

    found, png = 0, None
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isreg() or member.issparse():
                    raise tarfile.ReadError(f"{member.name} is not a plain file")
                key, _, suffix = member.name.rpartition(".")
                if suffix == "png" and png is None:
                    png, pixels = member, content(member) if wanted is None else b""
                elif png and png.name == f"{key}.png" and suffix == "json":
                    about = files.parse_object(content(member))
                    if wanted and wanted(about):
                        pixels = content(png)
                    yield Picture(key, pixels, about, str(path))
                    found, png = found + 1, None
                else:
                    raise tarfile.ReadError(f"{member.name} without its image")
            stated = archive.pax_headers.get(COUNT, "0")  # no image, no header
            if png or stated != str(found):
                raise tarfile.ReadError(f"expected {stated} images, found {found}")
    except (tarfile.TarError, OSError, ValueError) as problem:
        raise damaged(path, problem) from problem


def check_complete(pictures: Iterable[Picture], expected: list[str], where: str) -> Iterator[Picture]:
    """Pass the images through; raise JobError unless they have the expected keys, once each, in this order."""
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


def ahead(read: Callable, items: Iterable) -> Iterator:
    """Iterate over read(item) in order, while threads read the items that follow.

    Decoding 512 × 512 pixels takes 6 ms, during which a GPU would wait.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > 2 * THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Archive:
    """The images of a tar file in the order of the expected keys, decoded each time that they are iterated."""

    def __init__(self, path: str | Path, expected: list[str]):
        self.path, self.expected = path, expected

    def __len__(self) -> int:
        return len(self.expected)

    def __iter__(self) -> Iterator[Image.Image]:
        return ahead(lambda picture: picture.image, check_complete(unpack(self.path), self.expected, str(self.path)))


class OnDemand(Sequence):
    """Calls `read(n)` only when item n is accessed, because not all images of a run fit into memory."""

    def __init__(self, read: Callable[[int], object], count: int):
        self.read, self.count = read, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.read(index)

    def __iter__(self) -> Iterator:
        return ahead(self.read, range(self.count))
