"""Images that tests write, and files cut short."""

from pathlib import Path

from PIL import Image

import rule_jobs
from hra_workflow.core import files
from hra_workflow.tasks.control import data as control_data


def picture(size=(64, 48)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    return image


def cut(path) -> None:
    Image.effect_noise((64, 64), 80).save(path)
    path.write_bytes(path.read_bytes()[:900])


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


def subject(tmp_path, resolution=32) -> dict:
    given = {"name": "subject/mug", "dataset": {"resolution": resolution}, "local_root": str(tmp_path)}
    return rule_jobs.download(
        "dataset", tmp_path / "resources/mug.manifest.json", {"kind": "local", "path": "mug"}, **given
    )
