"""Images that tests write, and files cut short."""

from PIL import Image

import rule_jobs


def picture(size=(64, 48)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    return image


def cut(path) -> None:
    Image.effect_noise((64, 64), 80).save(path)
    path.write_bytes(path.read_bytes()[:900])


def subject(tmp_path, resolution=32) -> dict:
    given = {"name": "subject/mug", "dataset": {"resolution": resolution}, "local_root": str(tmp_path)}
    return rule_jobs.download(
        "dataset", tmp_path / "resources/mug.manifest.json", {"kind": "local", "path": "mug"}, **given
    )
