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
