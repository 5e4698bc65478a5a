"""Reading what the download rules have written."""

from pathlib import Path

from common import files
from common.job import JobError


def folder(manifest: str | Path) -> Path:
    """Folder of the files of a manifest, after a look that they are all there and whole (size; hashes at download)."""
    path = Path(manifest)
    content = files.read_json(path)
    place = path.parent / content["folder"]
    for name, entry in content["files"].items():
        file = place / name
        size = file.stat().st_size if file.exists() else None
        if size != entry["bytes"]:
            raise JobError(
                f"{file} should have {entry['bytes']} bytes, "
                + (f"has {size}" if size is not None else "is missing")
                + f". Delete {path} and run again: it is downloaded anew."
            )
    return place


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
