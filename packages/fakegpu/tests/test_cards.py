"""workflow/cards.py: gpus.md has the table of the results, which are those of plans and rehearsals."""

import re

import pandas as pd
import pytest

from fakegpu.workflow import cards
from hra_workflow import tasks
from hra_workflow.core import files, grid
from hra_workflow.cost import estimates
from hra_workflow.cost.planned_jobs import Job
from support import ROOT, paper_config

PLAN = """table_glue: 9 jobs (0 done), including 5 training runs
  hours:    0 GPU-hours used, about 1,550 GPU-hours remaining (estimated by hra-workflow rehearse)
  stages:   train 1,510, generate 38, augment 2
  longest:  15.8 hours for glue/qqp/oft/b16/seed4, one job after another
all 2 tables: 9 jobs
  hours:    0 GPU-hours and 0 CPU-hours used, about 1,600 GPU-hours remaining (estimated by hra-workflow rehearse)
  stages:   train 1,600
  longest:  420 hours for glue/cola/hra/r8/seed0, one job after another
"""


def test_the_page_has_the_table_of_the_results():
    text = cards.PAGE.read_text()
    assert text == cards.page(text), "run: python -m fakegpu.workflow.cards"
    assert cards.settings().keys() <= cards.cuda.CARDS.keys()


def test_hours_are_those_of_the_plan():
    assert cards.planned(PLAN) == {
        "glue": {"gpu_hours": 1550.0, "longest_hours": 15.8, "train": 1510.0, "generate": 40.0, "evaluate": 0.0},
        "all": {"gpu_hours": 1600.0, "longest_hours": 420.0, "train": 1600.0, "generate": 0.0, "evaluate": 0.0},
    }


def test_the_hours_of_glue_are_those_of_the_plan_with_the_rehearsed_rates():
    """Its jobs are the training runs, which evaluate; test_rehearsal.py has the rates of two."""
    every = tasks.load(paper_config())
    resources, seconds = every["glue"].settings["resources"], {}
    for run in every["glue"].runs():
        name, wildcards = f"{run['method']}/{run['variant']}", {"task": "glue"} | run
        job = Job("train_glue", wildcards, [], "", gpus=1, runs_per_gpu=grid.runs_per_gpu(resources, name))
        job.work = estimates.work(every, job.rule, wildcards)
        seconds[job.run] = estimates.by_rates(cards.rates(), every, job) * job.runs_per_gpu, job.runs_per_gpu
    (row,) = [row for row in cards.read() if (row["card"], row["table"]) == (cards.DEFAULT, "glue")]
    hours = sum(wall / shared for wall, shared in seconds.values()) / 3600
    assert hours == pytest.approx(float(row["gpu_hours"]), rel=0.005)
    assert max(wall for wall, _ in seconds.values()) / 3600 == pytest.approx(float(row["longest_hours"]), rel=0.005)


def test_a_table_takes_as_long_as_its_longest_run_at_least():
    row = {"fits": "True", "gpu_hours": "80.0", "longest_hours": "4.4"}
    assert cards.cell(row) == "80 GPU-hours, 10 h"
    assert cards.cell(row | {"longest_hours": "12.34"}) == "80 GPU-hours, 12 h"
    assert cards.cell(row | {"fits": "False"}) == "does not fit"


def test_a_task_fits_if_the_card_has_the_memory_of_its_largest_jobs(tmp_path):
    def job(rule: str, peak: int, gpu: int = 1, run: str = "", **wildcards) -> dict:
        method, _, variant = run.partition("/")
        return {
            "rule": rule,
            "gpu": gpu,
            "peak_bytes": peak * 10**9,
            "wildcards": wildcards | {"method": method, "variant": variant},
        }

    jobs = [
        job("train_glue", 5, task="glue", run="boft/m2b8"),  # two share a GPU
        job("train_glue", 4, task="glue", run="hra/r8"),  # three
        job("evaluate_glue", 6, task="glue"),
        job("train_math", 5, task="math", run="hra/r32"),
        job("generate_math", 90),
        job("augment", 9, gpu=0, task="glue"),
    ]
    files.write_json(tmp_path / "rehearsal.json", {"jobs": jobs})
    assert cards.memory(tmp_path, "h100") == {
        "glue": {"peak_bytes": 6 * 10**9, "needed_bytes": 12 * 10**9, "fits": True},
        "math": {"peak_bytes": 90 * 10**9, "needed_bytes": 90 * 10**9, "fits": False},
    }


def test_the_cards_that_a_table_fits_on():
    assert cards.smallest(20e9) == "all"
    assert cards.smallest(48e9) == "`a6000`, `a100`, `h100`, `h200`"
    assert cards.merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}}) == {"a": 1, "b": {"c": 4, "d": 3}}


def test_the_pages_have_the_figures():
    def hours(row: str) -> str:
        return re.search(rf"\| {row} \| [\d.]+ GB \|[^|]*\| ([\d.]+) GPU-hours", page)[1]

    def memory(table: str) -> str:
        return f"{found.loc[table, 'needed_bytes'] / 1e9:.1f} GB"

    page, readme = (" ".join(path.read_text().split()) for path in (cards.PAGE, ROOT / "README.md"))
    glue, found = float(hours("Table 2, GLUE")), pd.read_csv(cards.RESULTS).query("card == 'h100'").set_index("table")
    resources = paper_config()["tasks"]["glue"]["resources"]
    assert f"an estimated {hours('all')} GPU-hours on H100s" in readme
    least, most = f"{glue * 17 / 28:.0f}", f"{glue * 47 / 28:.0f}"
    assert f"may be between {least} and {most}," in page and f"GLUE's {glue:.0f} may be {least} to {most}:" in readme
    assert f"{['', 'One run', 'Two runs', 'Three runs'][resources['runs_per_gpu']['default']]} share a GPU." in page
    assert f"so GLUE needs {memory('glue')} there." in page
    assert f"GLUE needs {memory('glue')} (three runs per GPU), mathematics {memory('math')}, control" in readme
