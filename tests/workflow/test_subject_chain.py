"""Subjects through the real rules and scripts: a class of two words, a shard killed by SIGKILL, table and sheet."""

import csv

import pytest
from PIL import Image
from yaml import safe_dump

import subjects

TABLE, SHEET = "results/table_subject.csv", "results/sheets/subject_clown.png"
TINY = {
    "models": {"tiny-sd": {"source": subjects.MODEL, "head": [], "targets": {"paper": subjects.TARGETS}}},
    "datasets": {
        "subject": {"clown": {"source": subjects.DATASET["source"], "class": "rubber ball", "prompts": "object"}}
    },
    "presets": {"subject": {"tiny": {"source": "test", "all": {**subjects.SETTINGS, "max_steps": 3}}}},
    "tasks": {
        "subject": {
            "model": "tiny-sd",
            "published": False,
            "preset": "tiny",
            "grid": [{"runs": ["real/images", "hra/r8"], "datasets": ["clown"], "seeds": [0]}],
            "prompts": {"object": ["a {subject} on the left", "a {subject} on a blue background"]},
            "resolution": subjects.RESOLUTION,
            "resources": {"gpu": 0, "threads": 1, "mem_mb": 1000, "runtime": 10},
            "class_images": {"images": 4, "shards": 1, "inference_steps": 2},
            "generation": {
                "shards": 2,
                "images": 2,
                "batch_size": 2,
                "inference_steps": 2,
                "safety_checker": False,
                "precision": "float32",
                "resources": {"gpu": 0, "threads": 1, "mem_mb": 1000, "runtime": 10},
            },
            "evaluation": {
                "evaluators": [{"name": "faithfulness", "kind": "hra_workflow.demo.prompt_fidelity:PromptFidelity"}],
                "best_by": ["faithfulness"],
                "resources": {"gpu": 0, "threads": 1, "mem_mb": 1000, "runtime": 10},
            },
            "columns": [
                {"name": "Faithfulness", "benchmark": "prompts", "metric": "faithfulness"},
                {"name": "Blocked", "benchmark": "prompts", "metric": "blocked"},
            ],
            "figures": {"parameters": ["Faithfulness"], "lambda": ["Faithfulness"]},
        }
    },
}


@pytest.mark.slow
def test_from_photographs_to_table_and_sheet_with_a_killed_shard(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "tiny.yaml").write_text(safe_dump(TINY))
    write = "            progress.update(len(batch))\n"
    kill = (
        "            import os; written.result()\n"  # the first batch is written
        '            os.kill(os.getpid(), 9 * (job["rule"] == "generate_subject" and index == 1))\n'
    )
    project.change("workflow/hra_workflow/models/image_shards.py", write, write + kill)
    command = ("--cores", "2", "--configfile", "tiny.yaml")
    project.snakemake(*command, "--", TABLE, ok=False)
    assert (project.folder / "resources/class_images/rubber-ball.tar").stat().st_size > 1000

    project.change("workflow/hra_workflow/models/image_shards.py", kill, "")
    planned = project.plan(TABLE, SHEET, config="tiny.yaml")
    assert {line.split("benchmark=prompts ")[1] for line in planned["generate_subject"]} == {"shard=1 n_shards=2"}
    assert planned.keys() - {"evaluate_subject"} == {
        "generate_subject", "gather_subject", "runs", "compare", "table", "sheet_subject"
    }  # fmt: skip
    project.snakemake(*command, "--", TABLE, SHEET)
    logs = project.folder / "logs/generate/subject/clown/hra/r8/seed0/prompts"
    assert "4 images, 2 of them generated now" in (logs / "shard1-of-2.log").read_text()
    with open(project.folder / TABLE, newline="") as stream:
        table = {(row["run"], row["selection"]): row for row in csv.DictReader(stream)}
    hra, real = table["hra/r8", "last"], table["real/images", "last"]
    assert 0 <= float(hra["Faithfulness"]) <= 1 and hra["Blocked"] == "0.000" and not hra["missing"]
    assert real["Faithfulness"] == real["Faithfulness_n"] == "" and real["Blocked"] == "0.000"
    assert Image.open(project.folder / SHEET).size == (528, 696)
    left = [path for path in (project.folder / "results/subject").rglob("*") if path.suffix in (".png", ".tar")]
    assert [path.name for path in left] == ["images.tar"]  # few files a run

    # A number that the workflow chooses repeats no finished run, and a run that is repeated keeps its own.
    project.change("tiny.yaml", "shards: 2", "shards: auto")
    assert project.plan(TABLE, SHEET, config="tiny.yaml").keys() <= {"runs", "compare", "table"}
    project.change("tiny.yaml", "inference_steps: 2\n      precision", "inference_steps: 3\n      precision")
    planned = project.plan(TABLE, SHEET, config="tiny.yaml")["generate_subject"]
    assert {line.split("benchmark=prompts ")[1] for line in planned} == {"shard=0 n_shards=2", "shard=1 n_shards=2"}
