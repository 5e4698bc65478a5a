"""The check of a control dataset without computing control images: all files of its rows exist, and some are opened."""

from pathlib import Path

from hra_workflow.data import images, zip_archives
from hra_workflow.data.row_problems import each
from hra_workflow.tasks.control.data import Maker

OPENED = 500  # number of images of a split whose header is read
DECODED = 20  # number of control images of a split that are decoded


def check(folder: Path, dataset: dict) -> dict[str, int]:
    """Return the rows of every split; raise JobError for a missing file, and for an opened one that is not an image."""
    raw = zip_archives.Folder(folder)
    makers = each(dataset["splits"], lambda split: Maker(raw, dataset, split))
    for maker in makers:
        each(maker.rows, lambda row, maker=maker: find(maker, row), f"split {maker.split}")
        each(spaced(maker.rows, OPENED), lambda row, maker=maker: open_image(maker, row), f"split {maker.split}")
        for number, (key, _) in spaced(maker.rows, DECODED) if "control" in maker.places else ():
            images.load(maker.read(maker.places["control"], number, key))
    return {maker.split: len(maker.rows) for maker in makers}


def find(maker: Maker, row: tuple[int, tuple[str, str]]) -> None:
    """Find all files of a row."""
    number, (key, _) = row
    places = [maker.places["image"], maker.places.get("control"), maker.places.get("annotation", {}).get("place")]
    with maker.naming(key):
        for pattern in filter(None, places):
            maker.folder.find(maker.place(pattern, number, key))


def open_image(maker: Maker, row: tuple[int, tuple[str, str]]) -> None:
    """Read the header of a row's image."""
    number, (key, _) = row
    with maker.naming(key), images.decode(maker.read(maker.places["image"], number, key), only_header=True):
        pass


def spaced(rows: list, most: int) -> list:
    return rows[:: -(-len(rows) // most)]
