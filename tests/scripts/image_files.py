"""Images that tests write."""

from pathlib import Path

from PIL import Image

from hra_workflow.core import files
from hra_workflow.tasks.control import data as control_data


def picture(size=(64, 48)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    return image


def hints(folder: Path, keys: list[str], pngs: list[bytes]) -> str:
    """Write a split `validation` whose images are their own control images; return its manifest."""
    path = folder / "hints/validation.arrow"
    path.parent.mkdir()
    pairs = zip(keys, pngs, strict=True)
    rows = [{"key": key, "prompt": "", "image": png, "hint": png, "annotation": b""} for key, png in pairs]
    control_data.write(path, rows, dict, 8)
    listed = {path.name: {"bytes": path.stat().st_size, "sha256": files.sha256(path)}}
    manifest = {"folder": "hints", "files": listed, "sha256": "0", "rows": {"validation": len(keys)}}
    files.write_json(folder / "hints.manifest.json", manifest)
    return str(folder / "hints.manifest.json")
