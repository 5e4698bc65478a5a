"""benchmarks/cards.py: docs/gpus.md has the table of the results, which are those of plans and rehearsals."""

from benchmarks import cards
from hra_workflow.core import files

PLAN = """table_glue: 9 jobs (0 done), including 5 training runs
  hours:    0 GPU-hours used, about 1,550 GPU-hours remaining (estimated by make rehearse)
  stages:   train 1,510, generate 38, latents 2
  longest:  15.8 hours for glue/qqp/oft/b16/seed4, one job after another
all 2 tables: 9 jobs
  hours:    0 GPU-hours and 0 CPU-hours used, about 1,600 GPU-hours remaining (estimated by make rehearse)
  stages:   train 1,600
  longest:  420 hours for glue/cola/hra/r8/seed0, one job after another
"""


def test_the_page_has_the_table_of_the_results():
    text = cards.PAGE.read_text()
    assert text == cards.page(text), "run: python -m benchmarks.cards"
    named = {row["card"] for row in cards.read() if row["settings"] == "True"}
    assert named == cards.settings().keys(), "every config of the page is that of a card in the results"


def test_hours_are_those_of_the_plan():
    assert cards.planned(PLAN) == {
        "glue": {"gpu_hours": 1550.0, "longest_hours": 15.8, "train": 1510.0, "generate": 40.0, "evaluate": 0.0},
        "all": {"gpu_hours": 1600.0, "longest_hours": 420.0, "train": 1600.0, "generate": 0.0, "evaluate": 0.0},
    }


def test_a_table_takes_as_long_as_its_longest_run_at_least():
    row = {"fits": "True", "gpu_hours": "80.0", "longest_hours": "4.4"}
    assert cards.cell(row) == "80 GPU-hours, 10 h"
    assert cards.cell(row | {"longest_hours": "12.34"}) == "80 GPU-hours, 12 h"
    assert cards.cell(row | {"fits": "False"}) == "does not fit"


def test_a_task_fits_if_none_of_its_jobs_has_a_finding(tmp_path):
    jobs = [
        {"rule": "train_glue", "wildcards": {"task": "glue"}, "gpu": 1, "peak_bytes": 3},
        {"rule": "train_math", "wildcards": {"task": "math"}, "gpu": 1, "peak_bytes": 5},
        {"rule": "generate_math", "wildcards": {}, "gpu": 1, "peak_bytes": 7},
        {"rule": "augment", "wildcards": {"task": "glue"}, "gpu": 0, "peak_bytes": 9},
    ]
    files.write_json(tmp_path / "rehearsal.json", {"jobs": jobs})
    checks = {"train_glue hra/r8": True, "train_math oft/b16": False, "math, evaluators": True}
    findings = [{"check": check, "ok": ok} for check, ok in checks.items()]
    files.write_json(tmp_path / "preflight.json", {"findings": findings})
    assert cards.memory(tmp_path) == {"glue": (3, True), "math": (7, False)}
