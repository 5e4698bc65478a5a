"""Verification of the files that a manifest lists: downloads, control images, initial adapters."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError

CONFIG = "adapter_config.json"  # PEFT's file, without which an adapter's weights cannot be interpreted
THREADS = 4  # hashlib releases the GIL: a model in several files takes as long as its largest file


def folder(manifest: str | Path, read: Iterable[str] | None = None) -> Path:
    """Return the folder of a manifest's files; raise JobError unless they are byte-identical to the listed ones.

    `read`: names of the files that the caller will read, if not all. Only the sizes of the others are compared.
    """
    # Hashed in every job, not cached by size and date, which do not reveal a corrupted byte. One thread hashes
    # 1.8 GB/s with the processor's SHA instructions, 0.5 without: 2 to 8 s for Stable Diffusion 1.5, 6 to 19 s for
    # LLaMA2-7B, whose larger file has 10 GB. Its loader then finds the bytes in the page cache.
    path = Path(manifest)
    content = files.read_json(path)
    try:
        place = path.parent / content.get("folder", ".")
        listed = {name: (entry["bytes"], entry["sha256"]) for name, entry in content["files"].items()}
    except (AttributeError, KeyError, TypeError) as problem:
        raise JobError(f"{path}: expected a manifest, found {problem!r}. Delete it and run again.") from problem
    for name, (expected, _) in listed.items():
        size = (place / name).stat().st_size if (place / name).exists() else None
        if size != expected:
            found = f"{size} bytes" if size is not None else "no file"
            raise altered(place / name, path, f"{expected} bytes", found)
    chosen = list(listed if read is None else read)
    with ThreadPoolExecutor(THREADS) as pool:
        for name, found in zip(chosen, pool.map(files.sha256, [place / name for name in chosen]), strict=True):
            if found != listed[name][1]:
                raise altered(place / name, path, f"SHA-256 {listed[name][1]}", found)
    return place


def altered(file: Path, manifest: Path, expected: str, found: str) -> JobError:
    return JobError(
        f"{file}: expected {expected}, found {found}. The file has changed since it was downloaded or generated. "
        f"Delete {manifest} and run again."
    )


def check_trained_on(record: dict, manifest: str | Path) -> None:
    """Raise JobError if the run of a record was trained on a different model than the manifest's."""
    here, trained = files.read_json(manifest)["sha256"], record["model"]["sha256"]
    if here != trained:
        raise JobError(
            f"{manifest}: expected the files {trained[:12]}… of {record['model']['name']}, on which the weights were "
            f"trained, found {here[:12]}…. Restore that model, or delete train.json and run again."
        )


def with_configs(path: Path, listed: dict, weights: Iterable[str | Path]) -> list[Path]:
    """Add to weights files the adapter_config.json next to each, if the record lists it: that of an adapter."""
    found = [one for file in map(Path, weights) for one in (file, file.with_name(CONFIG))]
    return [file for file in found if file.name != CONFIG or os.path.relpath(file, path.parent) in listed]


def check_weights(record: dict, path: str | Path, *weights: str | Path) -> dict[str, str]:
    """Return the SHA-256 of weights files and their configs by their path in the run's folder. `path`: its record.

    Raises JobError unless they are those listed in the record.
    """
    path, listed, checked = Path(path), record["weights_sha256"], {}
    for file in with_configs(path, listed, weights):
        name = os.path.relpath(file, path.parent)
        expected = listed.get(name, "of no such file")
        found = files.sha256(file) if file.exists() else "no file"
        if found != expected:
            raise JobError(
                f"{file}: expected SHA-256 {expected}, found {found}. It was not written by this training run. "
                f"Delete {path} and run again."
            )
        checked[name] = found
    return checked


def check_hints(record: dict, manifest: str | Path) -> None:
    """Raise JobError if the run of a record was trained on different control images than the manifest's."""
    here, trained = files.read_json(manifest)["sha256"], record["data_sha256"]
    if here != trained:
        raise JobError(
            f"{manifest}: expected the control images {trained[:12]}… that the weights were trained on, found "
            f"{here[:12]}…. Delete the run's train.json and run again."
        )
