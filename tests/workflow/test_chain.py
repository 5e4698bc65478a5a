"""The whole chain with the real scripts, on a tiny model: one run fails, the table says so, the next call finishes."""

import csv

import pytest
from yaml import safe_dump

from support import TINY_MODEL

TINY = {
    "models": {
        "tiny": {
            "source": TINY_MODEL,
            "head": ["classifier"],
            "targets": {"paper": ["query", "output.dense"], "broken": ["no_such_layer"]},
        }
    },
    "datasets": {
        "glue": {
            "made": {
                "source": {"kind": "init", "generator": "sentiment", "rows": {"train": 48, "validation": 32}},
                "splits": {"train": ["train.parquet"], "validation": ["validation.parquet"]},
                "columns": ["sentence"],
                "label": "label",
                "labels": ["negative", "positive"],
                "benchmarks": {"validation": "validation"},
                "metrics": ["accuracy"],
                "score": "accuracy",
            }
        }
    },
    "methods": {"lora": {"variants": {"r8": {"targets": "broken"}}}},
    "presets": {
        "glue": {
            "tiny": {
                "source": "test",
                "all": {
                    "epochs": 1,
                    "learning_rate": 0.01,
                    "warmup_steps": 0,
                    "max_length": 32,
                    "eval_steps": 2,
                    "batch_size": 16,
                    "precision": "float32",
                },
            }
        }
    },
    "tasks": {
        "glue": {
            "model": "tiny",
            "published": False,
            "preset": "tiny",
            "grid": [{"runs": ["lora/r8", "hra/r8"], "datasets": ["made"], "seeds": [0]}],
            "resources": {"gpu": 0, "threads": 1, "mem_mb": 1000, "runtime": 10},
            "columns": [{"name": "Made", "dataset": "made", "benchmark": "validation", "metric": "accuracy"}],
            "averages": [{"name": "All", "columns": ["Made"]}],
            "figures": {"parameters": ["All"], "lambda": ["Made"]},
        }
    },
}


def rows(path) -> list[dict]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_failed_run_is_a_row_and_the_rest_is_kept(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "tiny.yaml").write_text(safe_dump(TINY))
    command = ("--cores", "2", "--configfile", "tiny.yaml")
    table, runs = "results/table_glue.csv", project.folder / "results/runs_glue.csv"

    output = project.snakemake(*command, "--", table, ok=False)
    assert "'no_such_layer' matches no Linear layer" in output
    assert "incomplete=True" in output
    kept = project.folder / "results/glue/made/hra/r8/seed0/validation/metrics.json"
    made = kept.stat().st_mtime

    project.snakemake(*command, "--config", "incomplete=True", "--", table)
    failed = rows(runs)[0]
    assert (failed["method"], failed["status"]) == ("lora", "failed")
    assert "matches no Linear layer" in failed["error"]
    lora, hra = (row for row in rows(project.folder / table) if row["selection"] == "best_on_dev")
    assert lora["Made"] == "" and "made" in lora["missing"]
    assert float(hra["Made"]) >= 0 and hra["missing"] == ""

    project.change("tiny.yaml", "targets: broken", "targets: paper")
    project.snakemake(*command, "--", "all")
    assert {row["status"] for row in rows(runs)} == {"ok"}
    assert kept.stat().st_mtime == made
    for figure in ("parameters", "lambda", "curves"):
        assert (project.folder / f"results/figures/glue_{figure}.svg").stat().st_size > 1000
