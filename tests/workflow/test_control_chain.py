"""Control through the real rules and scripts: archives, control images, a killed and retried shard, table, sheet."""

import csv

import pytest
from PIL import Image
from yaml import safe_dump

from controlled import SETTINGS, SIDE, TARGETS
from support import ROOT

TABLE, SHEET = "results/table_control.csv", "results/sheets/control_scenes.png"
RESOURCES = {"gpu": 0, "threads": 1, "mem_mb": 1000, "runtime": 10}
PLACES = {
    split: {
        "prompts": f"{split}.jsonl",
        "image": f"scenes.zip:{split}/color/{{key}}.png",
        "annotation": {"kind": "classes", "place": f"scenes.zip:{split}/classes/{{key}}.png"},
    }
    for split in ("train", "validation")
}
TINY = {
    "models": {
        "tiny-sd": {
            "source": {"kind": "local", "path": str(ROOT / "workflow/pictures-sd")},
            "head": [],
            "targets": {"paper": TARGETS},
        }
    },
    "datasets": {
        "control": {
            "scenes": {
                "source": {
                    "kind": "init",
                    "generator": "hra_workflow.demo.scene_controls:write",
                    "rows": {"train": 8, "validation": 4},
                    "seed": 0,
                },
                "hint": "segmentation",
                "splits": PLACES,
                "evaluators": ["canny", "classes"],
            }
        }
    },
    "presets": {
        "control": {
            "tiny": {"source": "test", "all": {name: value for name, value in SETTINGS.items() if name != "max_steps"}}
        }
    },
    "tasks": {
        "control": {
            "model": "tiny-sd",
            "published": False,
            "preset": "tiny",
            "grid": [{"runs": ["real/images", "hra/r8"], "datasets": ["scenes"], "seeds": [0]}],
            "resolution": SIDE,
            "resources": RESOURCES,
            "hints": {"resources": RESOURCES},
            "latents": {"cache": True, "resources": RESOURCES},
            "generation": {
                "shards": 2,
                "batch_size": 1,
                "inference_steps": 2,
                "precision": "float32",
                "resources": RESOURCES,
            },
            "evaluation": {
                "evaluators": [
                    {"name": "canny", "kind": "canny"},
                    {"name": "classes", "kind": "hra_workflow.demo.scene_controls:ObjectMask"},
                ],
                "resources": RESOURCES,
            },
            "sheets": {"runs": ["hra/r8"], "rows": 2},
            "columns": [
                {"name": "IoU", "dataset": "scenes", "benchmark": "validation", "metric": "canny_iou"},
                {
                    "name": "mIoU",
                    "dataset": "scenes",
                    "benchmark": "validation",
                    "metric": "classes_miou",
                    "scale": 100,
                },
            ],
            "figures": {"parameters": ["IoU"], "lambda": ["IoU"]},
        }
    },
}


@pytest.mark.slow
def test_from_archives_to_table_and_sheet_with_a_killed_shard(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "tiny.yaml").write_text(safe_dump(TINY))
    write = "            progress.update(len(batch))\n"
    kill = (
        "            import os; written.result()\n"  # the first batch is written
        '            os.kill(os.getpid(), 9 * (job["rule"] == "generate_control" and index == 1))\n'
    )
    project.change("workflow/hra_workflow/models/image_shards.py", write, write + kill)
    command = ("--cores", "2", "--configfile", "tiny.yaml")
    project.snakemake(*command, "--", TABLE, ok=False)

    project.change("workflow/hra_workflow/models/image_shards.py", kill, "")
    planned = project.plan(TABLE, SHEET, config="tiny.yaml")
    assert {line.split("benchmark=validation ")[1] for line in planned["generate_control"]} == {"shard=1 n_shards=2"}
    assert planned.keys() - {"evaluate_control"} == {
        "generate_control", "gather_control", "runs", "compare", "table", "sheet_control"
    }  # fmt: skip
    project.snakemake(*command, "--", TABLE, SHEET)
    logs = project.folder / "logs/generate/control/scenes/hra/r8/seed0/validation"
    assert "2 images, 1 of them generated now" in (logs / "shard1-of-2.log").read_text()
    with open(project.folder / TABLE, newline="") as stream:
        table = {row["run"]: row for row in csv.DictReader(stream)}
    hra, real = table["hra/r8"], table["real/images"]
    assert (real["IoU"], real["params_M"]) == ("1.000", "0.000") and float(real["mIoU"]) > 95
    assert 0 <= float(hra["IoU"]) < 1 and 0 < float(hra["mIoU"]) <= 100 and not hra["missing"]
    sheet = Image.open(project.folder / SHEET)
    assert sheet.size == (698, 464)  # three columns; two rows with two scores below each image
    left = sorted(path.name for path in (project.folder / "results/control").rglob("*") if path.suffix == ".tar")
    assert left == ["images.tar"]
    assert not list((project.folder / "resources").rglob("*.png"))  # archives and hints are few files
    assert [path.name for path in (project.folder / "resources/latents/scenes").iterdir()] == ["train.npy"]
