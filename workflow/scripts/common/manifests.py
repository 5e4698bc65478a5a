"""Reading the files that a manifest lists: downloaded ones, control images, initial adapters."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import files
from common.job import JobError

THREADS = 4  # hashlib lets others run: a model in several files takes the time of its largest


def folder(manifest: str | Path, read: Iterable[str] | None = None) -> Path:
    """Folder of the files of a manifest; JobError unless they are those that it lists, to the byte.

    `read`: the names of the files that the caller will read, where these are not all; of the others only the size is
    compared. Every job computes the digests anew, since a byte that a disk has altered shows in neither size nor date.
    SHA-256 takes 0.6 s per GB (1.7 GB/s on a processor with SHA instructions, of 2017 or later), 8 s for LLaMA2-7B in
    one thread; the bytes then come to the model's loader from the page cache.
    """
    path = Path(manifest)
    content = files.read_json(path)
    place, listed = path.parent / content.get("folder", "."), content["files"]
    for name, entry in listed.items():
        size = (place / name).stat().st_size if (place / name).exists() else None
        if size != entry["bytes"]:
            found = f"{size} bytes" if size is not None else "no file"
            raise altered(place / name, path, f"{entry['bytes']} bytes", found)
    chosen = list(listed) if read is None else list(read)
    with ThreadPoolExecutor(THREADS) as pool:
        digests = pool.map(files.sha256, [place / name for name in chosen])
        for name, digest in zip(chosen, digests, strict=True):
            if digest != listed[name]["sha256"]:
                raise altered(place / name, path, f"SHA-256 {listed[name]['sha256']}", digest)
    return place


def altered(file: Path, manifest: Path, expected: str, found: str) -> JobError:
    return JobError(
        f"{file}: expected {expected}, found {found}. The file has changed since it was fetched or made. "
        f"Delete {manifest} and run again."
    )


def check_trained_on(record: dict, manifest: str | Path) -> None:
    """Raise JobError if the run of a record was trained on another model than the manifest's."""
    here, trained = files.read_json(manifest)["sha256"], record["model"]["sha256"]
    if here != trained:
        raise JobError(
            f"the weights were trained on {record['model']['name']} with the files {trained[:12]}…; {manifest} holds "
            f"{here[:12]}…. Give the model that belongs to them, or delete train.json and run again."
        )


def check_hints(record: dict, manifest: str | Path) -> None:
    """Raise JobError if the run of a record was trained on other control images than the manifest's."""
    here, trained = files.read_json(manifest)["sha256"], record["data_sha256"]
    if here != trained:
        raise JobError(
            f"{manifest}: expected the control images {trained[:12]}… that the weights were trained on, found "
            f"{here[:12]}…. Delete the run's train.json and run again."
        )
