"""Images with prompts, control images and annotations: one file per split, with random access to rows.

{split}.arrow has `key`, `prompt`, `image` (the original image file), `hint` (the control image as PNG) and `annotation`
(classes as PNG, points as JSON, or empty), the last two cropped to the central square and resized to `resolution`
pixels per side. Images are cropped and resized whenever they are read.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy
from PIL import Image

from hra_workflow.core import manifests
from hra_workflow.core.errors import JobError, check_sizes
from hra_workflow.data import images, zip_archives
from hra_workflow.data.row_problems import each
from hra_workflow.tasks.control import hints, prompts

FIELDS = {"key": "string", "prompt": "string", "image": "binary", "hint": "binary", "annotation": "binary"}
BATCH = 64  # rows per record batch
SIDE = "resolution"  # key in the file's metadata


def schema(resolution: int):
    import pyarrow

    fields = [(name, getattr(pyarrow, kind)()) for name, kind in FIELDS.items()]
    return pyarrow.schema(fields, metadata={SIDE: str(resolution)})


def write(path: Path, rows: list, make: Callable, resolution: int, threads: int = 1) -> int:
    """Write `make(row)`, a dict of FIELDS, for all rows in order; return their number."""
    import pyarrow
    from tqdm import tqdm

    written, layout = 0, schema(resolution)
    with (
        ThreadPoolExecutor(threads) as pool,
        pyarrow.ipc.new_file(path, layout) as out,
        tqdm(total=len(rows), desc=path.stem, unit="picture", disable=None) as progress,
    ):
        for first in range(0, len(rows), BATCH):
            made = list(pool.map(make, rows[first : first + BATCH]))
            out.write_batch(pyarrow.RecordBatch.from_pylist(made, schema=layout))
            written += len(made)
            progress.update(len(made))
    return written


def open_split(manifest: str | Path, split: str) -> "Split":
    """Open a split of the manifest written by draw_hints.py, after verifying its file."""
    return Split(manifests.folder(manifest, [f"{split}.arrow"]), split)


class Split:
    """The rows of a split. `split[n]`: (image, prompt, control image), both RGB and `resolution` pixels square."""

    def __init__(self, folder: Path, split: str):
        import pyarrow

        self.path = Path(folder) / f"{split}.arrow"
        self.file = pyarrow.ipc.open_file(pyarrow.memory_map(str(self.path)))
        self.batches = [self.file.get_batch(index) for index in range(self.file.num_record_batches)]
        self.resolution = int(self.file.schema.metadata[SIDE.encode()])
        self.rows = sum(batch.num_rows for batch in self.batches)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> tuple[Image.Image, str, Image.Image]:
        return self.picture(row), self.value(row, "prompt"), self.hint(row)

    def value(self, row: int, field: str):
        if not 0 <= row < self.rows:
            raise IndexError(row)
        return self.batches[row // BATCH].column(field)[row % BATCH].as_py()

    def picture(self, row: int) -> Image.Image:
        whole = images.load(zip_archives.NamedBytes(self.value(row, "image"), f"{self.path}, {self.value(row, 'key')}"))
        return square(whole, self.resolution)

    def hint(self, row: int) -> Image.Image:
        return Image.open(io.BytesIO(self.value(row, "hint"))).convert("RGB")

    def annotation(self, row: int) -> numpy.ndarray | None:
        """Return classes (resolution, resolution), points (N, 2) in pixels of the centre crop, or None."""
        content = self.value(row, "annotation")
        if not content:
            return None
        if content[:1] == b"[":
            return numpy.array(json.loads(content), float)
        return numpy.asarray(Image.open(io.BytesIO(content)))


def encode(annotation: numpy.ndarray | None) -> bytes:
    if annotation is None:
        return b""
    if annotation.dtype == float:
        return json.dumps(annotation.tolist()).encode()
    return images.to_png(Image.fromarray(annotation))


# From archives to rows

READERS = {
    "classes": hints.classes,
    "points": hints.points,
    "object-points": partial(hints.points, count=5),
    "colours": lambda file: hints.classes_of_colours(file)[0],
}


class Maker:
    """Builds the rows of a split: `make(row)` for each of `rows`."""

    def __init__(self, folder: zip_archives.Folder, dataset: dict, split: str):
        self.folder, self.dataset, self.places, self.split = folder, dataset, dataset["splits"][split], split
        stated = self.places["prompts"]
        listed = prompts.stated(stated) if isinstance(stated, list) else prompts.read(folder.read(stated))
        listed = [entry for entry in listed if fnmatch(entry[0], self.places.get("keys", "*"))]
        expected = dataset.get("rows", {}).get(split)
        where = f"split {split} ({'in the config' if isinstance(stated, list) else stated})"
        if not listed or (expected is not None and len(listed) != expected):
            raise JobError(
                f"{where}: expected {expected or 'some'} rows, found {len(listed)}. Correct `rows` or the file."
            )
        self.rows = list(enumerate(listed))[: dataset.get("take", {}).get(split)]
        stated = self.places.get("annotation", {}).get("place", "")
        places = [self.places["image"], self.places.get("control", ""), stated]
        self.listed = {place: folder.names(place) for place in places if "*" in place}
        for place, found in self.listed.items():
            if len(found) < len(self.rows):
                raise JobError(
                    f"{where}: expected {len(self.rows)} files that match {place}, one per prompt, found {len(found)}. "
                    "Correct the path."
                )

    def try_one(self) -> None:
        """Make the first row; raise JobError if it fails, or if most of its colours are not classes of ADE20K."""
        self.make(self.rows[0])
        number, (key, _) = self.rows[0]
        if self.places.get("annotation", {}).get("kind") == "colours":
            _, others = hints.classes_of_colours(self.read(self.places["annotation"]["place"], number, key))
            if (fraction := sum(others.values())) > 0.5:
                raise JobError(
                    f"split {self.split}, image {key!r}: expected the colours of ADE20K's classes, found others in "
                    f"{fraction:.0%} of the pixels: {', '.join([*others][:8])}. Check whether it is from another "
                    "dataset; the entry ade20k-challenge has label maps, which need no colours."
                )

    def place(self, pattern: str, row: int, key: str) -> str:
        """Return the path of a row's file."""
        return self.listed[pattern][row] if pattern in self.listed else pattern.replace("{key}", key)

    def read(self, pattern: str, row: int, key: str) -> zip_archives.NamedBytes:
        return self.folder.read(self.place(pattern, row, key))

    def find(self, row: tuple[int, tuple[str, str]]) -> None:
        """Find all files of a row."""
        number, (key, _) = row
        places = [self.places["image"], self.places.get("control"), self.places.get("annotation", {}).get("place")]
        with self.naming(key):
            for pattern in filter(None, places):
                self.folder.find(self.place(pattern, number, key))

    def make(self, row: tuple[int, tuple[str, str]]) -> dict:
        """Return a row's FIELDS; raise JobError with split and key if one of its files is invalid."""
        number, (key, prompt) = row
        with self.naming(key):
            return {"key": key, "prompt": prompt} | self.content(number, key)

    @contextlib.contextmanager
    def naming(self, key: str) -> Iterator[None]:
        """Name split and key in errors."""
        try:
            yield
        except JobError as problem:
            raise JobError(f"split {self.split}, image {key!r}: {problem}") from problem

    def content(self, number: int, key: str) -> dict[str, bytes]:
        file, side, annotation = self.read(self.places["image"], number, key), self.dataset["resolution"], None
        whole = images.load(file)
        if stated := self.places.get("annotation"):
            place = self.read(stated["place"], number, key)
            annotation = READERS[stated["kind"]](place)
            if annotation.dtype != float:
                check_sizes(annotation.shape[::-1], whole.size, str(place))
            annotation = square_annotation(annotation, whole.size, side)
        if "control" in self.places:
            hint = self.finished(number, key, whole.size)
        else:
            try:
                hint = hints.HINTS[self.dataset["hint"]](square(whole, side), annotation)
            except JobError as problem:
                raise JobError(f"{file}: {problem}") from problem
        return {"image": file.getvalue(), "hint": images.to_png(hint), "annotation": encode(annotation)}

    def finished(self, number: int, key: str, size: tuple[int, int]) -> Image.Image:
        """Read a control image that the dataset contains, cropped and resized like the image, which has `size`."""
        file = self.read(self.places["control"], number, key)
        hint = images.load(file)
        if hint.width * size[1] != hint.height * size[0]:
            found = f"found {hint.width} × {hint.height} and {size[0]} × {size[1]} pixels"
            raise JobError(f"{file}: expected the proportions of its image, {found}. Correct `control`.")
        return square(hint, self.dataset["resolution"])


def check(folder: Path, dataset: dict) -> dict[str, int]:
    """Return the rows of every split; raise JobError, with the first missing files, unless all files of them exist."""
    raw = zip_archives.Folder(folder)
    makers = each(dataset["splits"], lambda split: Maker(raw, dataset, split))
    for maker in makers:
        each(maker.rows, maker.find, f"split {maker.split}")
    return {maker.split: len(maker.rows) for maker in makers}


# Central squares


def middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the central square of an image of `size` (width, height): left, top, right, bottom, in pixels."""
    side = min(size)
    left, top = ((room - side) // 2 for room in size)
    return left, top, left + side, top + side


def square(picture: Image.Image, side: int, how=Image.Resampling.BILINEAR) -> Image.Image:
    """Crop an image to its central square and resize it to (side, side)."""
    return picture.resize((side, side), how, box=middle(picture.size))


def square_annotation(annotation: numpy.ndarray, size: tuple[int, int], side: int) -> numpy.ndarray:
    """Crop and resize classes (height, width) or points (N, 2) like their image of `size` (width, height)."""
    if annotation.dtype != float:
        return numpy.asarray(square(Image.fromarray(annotation), side, Image.Resampling.NEAREST))
    left, top, right, _ = middle(size)
    return (annotation - (left, top)) * (side / (right - left))
