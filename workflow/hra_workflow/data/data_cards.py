"""Data cards: the contents and problems of a dataset, as JSON next to its manifest.

    X.card.json    `splits`: counts by split; `warnings`: sentences; `own`: the user's files that it describes, {} for
                   downloaded ones; `entry`: digest of the config's entry (workflow/schemas/card.schema.json)

A dry run makes the card of the user's files first, and makes it again if a file or the entry changes. The download job
makes the cards of all other datasets. Data that cannot be used raises a JobError instead of a warning.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.wording import plural
from hra_workflow.data.sources import local

VERSION = 4  # of the contents of cards: an older card is made again
TRAIN = "train"
CLASSES = 6  # up to so many classes, a line shows every count


def path_of(manifest: str | Path) -> Path:
    return Path(str(manifest).removesuffix(".manifest.json") + ".card.json")


def name_of(manifest: str | Path) -> str:
    return Path(manifest).name.removesuffix(".manifest.json")


def ordered(splits: Iterable[str]) -> list[str]:
    """Return the names of splits in the order of a card: `train` first. A job's params have a different order."""
    return sorted(splits, key=lambda name: (name != TRAIN, name))


def digest(entry: dict) -> str:
    return hashlib.sha256(json.dumps([VERSION, entry], sort_keys=True).encode()).hexdigest()


def save(path: Path, card: dict, entry: dict, user_files: dict) -> None:
    """Write a card; `user_files`: the listing of the user's files (sources/local.py)."""
    files.write_json(path, card | {"entry": digest(entry), "own": user_files})


def current(path: Path, entry: dict, user_files: dict[str, Path], make: Callable[[], dict]) -> dict:
    """Return the card at `path` if it describes these user files and this entry; otherwise make and write it."""
    before = files.read_if_valid(path)
    now = local.describe_files(user_files, before.get("own", {}))
    same = before.get("entry") == digest(entry) and local.hashes(before["own"]) == local.hashes(now)
    card = before if same else make()
    if not same or before["own"] != now:
        with contextlib.suppress(OSError):  # a dry run needs no permission to write
            save(path, card, entry, now)
    return card


# Text for readers


def summary(card: dict) -> str:
    """Describe the splits: `train 960 rows (2 classes: bad 480, good 480), dev 320 rows`."""
    return ", ".join(described(name, split) for name, split in card["splits"].items())


def described(name: str, split: dict) -> str:
    if "pixels" in split:
        sides = " to ".join(f"{side:,}" for side in sorted({*split["pixels"]}))
        return f"{plural(split['rows'], 'image')} of {sides} pixels per side"
    text, classes = f"{name} {plural(split['rows'], 'row')}", split.get("classes", {})
    if len(classes) > CLASSES:
        return f"{text} ({len(classes)} classes of {min(classes.values()):,} to {max(classes.values()):,})"
    counts = ", ".join(f"{label} {count:,}" for label, count in classes.items())
    return f"{text} ({len(classes)} classes: {counts})" if classes else text


def contents(manifests: Iterable[str]) -> list[str]:
    """Return one line per user dataset with its contents."""
    return [f"{name}: {summary(card)}" for name, card in named_cards(manifests) if card["own"]]


def warnings(manifests: Iterable[str]) -> list[str]:
    """Return the warnings of all datasets, with their names."""
    return [f"{name}: {warning}" for name, card in named_cards(manifests) for warning in card["warnings"]]


def named_cards(manifests: Iterable[str]) -> list[tuple[str, dict]]:
    """Return the cards that exist, with the names of their datasets."""
    cards = [(name_of(path), files.read_if_valid(path_of(path))) for path in manifests]
    return [(name, card) for name, card in cards if card]
