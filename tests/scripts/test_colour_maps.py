"""Control images from colour maps with other colours than ADE20K's: counted, and one image is tried first."""

import io
import json
import zipfile
from pathlib import Path

import jsonschema
import numpy
import pytest
from PIL import Image

import draw_hints
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.tasks.control import data as control_data
from support import ROOT

SIDE = 16


def colour_maps(folder: Path, colours: dict[str, list[int]], images: int) -> dict:
    """Write a dataset with a plain colour map per split and image; return the job of its control images."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for split, colour in colours.items():
            for key in range(images):
                stream = io.BytesIO()
                Image.fromarray(numpy.full((SIDE, SIDE, 3), colour[key], numpy.uint8)).save(stream, "PNG")
                archive.writestr(f"{split}/{key}.png", stream.getvalue())
    found = {"set.zip": {"bytes": (folder / "set.zip").stat().st_size, "sha256": files.sha256(folder / "set.zip")}}
    record = {"name": "control/set", "source": {}, "revision": None, "folder": folder.name, "files": found}
    files.write_json(folder.parent / "set.manifest.json", record)
    splits = {}
    for split in colours:
        prompts = [{"image": f"{key}.png", "prompt": "a"} for key in range(images)]
        place = f"set.zip:{split}/{{key}}.png"
        splits[split] = {"prompts": prompts, "image": place, "annotation": {"kind": "colours", "place": place}}
    return {
        "input": {"dataset": str(folder.parent / "set.manifest.json")},
        "output": {"manifest": str(folder.parent / "hints.manifest.json")},
        "params": {"dataset": {"hint": "segmentation", "splits": splits, "resolution": SIDE}},
        "wildcards": {"dataset": "hints"},
        "threads": 2,
    }


WALL, NEARLY_WALL, UNKNOWN = (120, 120, 120), (121, 119, 120), (99, 1, 77)


def test_pixels_in_other_colours_are_counted_in_the_manifest(tmp_path, capsys):
    job = colour_maps(tmp_path / "set", {"train": [WALL, NEARLY_WALL, UNKNOWN], "validation": [WALL] * 3}, 3)
    draw_hints.main(job)
    manifest = files.read_json(job["output"]["manifest"])
    jsonschema.validate(manifest, json.loads((ROOT / "workflow/schemas/manifest.schema.json").read_text()))
    area = SIDE**2
    assert manifest["colours"] == {
        "train": {"pixels": 3 * area, "nearest": area, "none": area},
        "validation": {"pixels": 3 * area, "nearest": 0, "none": 0},
    }
    assert "33.33% are the nearest class, 33.33% none" in capsys.readouterr().out
    split = control_data.open_split(job["output"]["manifest"], "train")
    assert [int(split.annotation(row)[0, 0]) for row in range(3)] == [0, 0, 255]


@pytest.mark.parametrize("wrong", ["train", "validation"])
def test_one_image_of_every_split_is_tried_before_the_others_are_read(tmp_path, monkeypatch, wrong):
    colours = {split: [UNKNOWN if split == wrong else WALL] for split in ("train", "validation")}
    job = colour_maps(tmp_path / "set", colours, 1)
    monkeypatch.setattr(control_data, "write", None)  # not reached
    with pytest.raises(
        JobError, match=rf"split {wrong}, image '0': expected .* found others in 100% .*#63014d.*challenge"
    ):
        draw_hints.main(job)
