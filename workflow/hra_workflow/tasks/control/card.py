"""The data card of a control dataset: its rows and image files, and control images that control nothing.

A dry run makes it without computing control images: it finds all files and opens some. The job that computes the
control images adds their unusual properties.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import data_cards, image_card, images, zip_archives
from hra_workflow.data.data_cards import TRAIN
from hra_workflow.data.row_problems import each
from hra_workflow.data.text_tables import is_empty
from hra_workflow.tasks.control.data import Maker

OPENED = 500  # number of images of a split whose header is read
DECODED = 20  # number of control images of a split that are decoded


def make_card(folder: Path, dataset: dict) -> dict:
    """Return `splits` and `warnings`; raise JobError for a missing file, and for an opened one that is not an image."""
    raw = zip_archives.Folder(folder)
    makers = each(data_cards.ordered(dataset["splits"]), lambda split: Maker(raw, dataset, split))
    prints = {maker.split: fingerprints(maker) for maker in makers}
    splits, warnings = {}, []
    for maker in makers:
        split, every = maker.split, len(maker.rows)
        splits[split] = {"rows": every}
        if repeated := every - len({*prints[split]}):
            splits[split]["repeated"] = repeated
            warnings.append(f"{repeated:,} of {every:,} rows of {split} have the image of an earlier row")
        if split != TRAIN:
            trained = {*prints.get(TRAIN, ())}
            items = [item for item, one in enumerate(prints[split]) if one in trained]
            if items:
                splits[split] |= {"in_train": len(items), "in_train_items": items}
                warnings.append(
                    f"the images of {len(items):,} of {every:,} rows of {split} also occur in {TRAIN}, so its scores "
                    f"do not show how a model does on new data; the first: {maker.rows[items[0]][1][0]!r}"
                )
        if empty := [key for _, (key, prompt) in maker.rows if is_empty(prompt)]:
            warnings.append(
                f"the prompt is empty in {len(empty):,} of {every:,} rows of {split}, the first: {empty[0]!r}"
            )
        warnings += [*small(maker), *finished(maker)]
    return {"splits": splits, "warnings": warnings}


def fingerprints(maker: Maker) -> list[tuple[int, int]]:
    """Find all files of every row; return the fingerprints of the images (zip_archives.py)."""
    others = [maker.places["control"]] if "control" in maker.places else []
    others += [maker.places["annotation"]["place"]] if "annotation" in maker.places else []

    def look_up(row: tuple[int, tuple[str, str]]) -> tuple[int, int]:
        number, (key, _) = row
        with maker.naming(key):
            for pattern in others:
                maker.folder.fingerprint(maker.place(pattern, number, key))
            return maker.folder.fingerprint(maker.place(maker.places["image"], number, key))

    return each(maker.rows, look_up, f"split {maker.split}")


def small(maker: Maker) -> Iterator[str]:
    """Open some images; describe those that have to be enlarged."""
    side, rows = maker.dataset["resolution"], spaced(maker.rows, OPENED)

    def is_small(row: tuple[int, tuple[str, str]]) -> bool:
        number, (key, _) = row
        with maker.naming(key):
            file = maker.read(maker.places["image"], number, key)
            try:
                with Image.open(file, formats=images.PHOTOGRAPHS) as image:
                    images.require_one(image, str(file))
                    size = image.size
                    image.verify()
            except JobError:
                raise
            except Exception as problem:  # corrupted files make decoders raise struct.error, IndexError, …
                raise JobError(f"{file}: cannot be decoded as an image ({problem}). Replace or remove it.") from problem
            return min(size) < side

    opened = zip(rows, each(rows, is_small, f"split {maker.split}"), strict=True)
    found = [key for (_, (key, _)), enlarged in opened if enlarged]
    if found:
        yield (
            f"{len(found):,} of {len(rows):,} opened images of {maker.split} have fewer than {side} × {side} pixels "
            f"and are enlarged, the first: {found[0]!r}"
        )


def finished(maker: Maker) -> Iterator[str]:
    """Decode some control images that the dataset contains."""
    if "control" in maker.places:
        rows = spaced(maker.rows, DECODED)
        read = {key: maker.read(maker.places["control"], number, key) for number, (key, _) in rows}
        yield from unusual(
            maker.split, {key: list(image_card.unusual(images.load(file))) for key, file in read.items()}
        )


def of_hints(maker: Maker) -> list[str]:
    """Describe the computed control images; raise JobError if all training ones are the same."""
    if maker.split == TRAIN and len(maker.rows) > 1 and len(maker.different) == 1:
        raise JobError(
            f"split {TRAIN}: expected control images that differ, found the same one {len(maker.rows)} times. Correct "
            f"`hint` ({maker.dataset['hint']}) or the images."
        )
    if "control" in maker.places:
        return []  # make_card has described them
    return list(unusual(maker.split, {key: maker.unusual[key] for _, (key, _) in maker.rows}))


def unusual(split: str, found: Mapping[str, list[str]]) -> Iterator[str]:
    """Describe control images that control nothing. `found`: key -> result of image_card.unusual, for every image."""
    for problem in dict.fromkeys(one for problems in found.values() for one in problems):
        keys = [key for key, problems in found.items() if problem in problems]
        yield f"{len(keys):,} of {len(found):,} control images of {split}, the first {keys[0]!r}: each {problem}"


def spaced(rows: list, most: int) -> list:
    return rows[:: -(-len(rows) // most)]
