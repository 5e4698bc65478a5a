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


def planned(rule: str, hours: float | None, gpus: int = 1, **wildcards: str) -> dict:
    of = {"task": "glue", "dataset": "qqp", "method": "hra", "variant": "r8", "seed": "4"} | wildcards
    return {"rule": rule, "wildcards": of, "gpus": gpus, "tables": [f"table_{of['task']}"], "hours_left": hours}


def test_the_page_has_the_table_of_the_results():
    text = cards.PAGE.read_text()
    assert text == cards.page(text), "run: python -m fakegpu.workflow.cards"
    assert cards.settings().keys() <= cards.cuda.CARDS.keys()


def test_hours_are_those_of_the_plan():
    """Three runs share a GPU, so each lasts three times its hours; the shards of a run are generated at once."""
    of_math = [planned("generate_math", 20.0, task="math", shard=shard) for shard in "01"]
    jobs = [planned("train_glue", 10.0), planned("evaluate_glue", 0.25), planned("table", None, 0), *of_math]
    jobs += [planned("latents_control", 1.0, task="control"), planned("train_control", 8.0, 8, task="control")]
    found = cards.planned(jobs, "h100")
    glue = {"gpu_hours": 10.2, "longest_hours": 30.2, "train": 10.0, "generate": 0.0, "evaluate": 0.25}
    assert found["glue"] == glue
    assert found["math"]["longest_hours"] == 20.0
    assert (found["control"]["generate"], found["control"]["longest_hours"]) == (1.0, 2.0)
    assert found["all"]["gpu_hours"] == 59.2


def test_the_hours_of_glue_are_those_of_the_plan_with_the_rehearsed_rates():
    """Its jobs are the training runs, which evaluate; test_rehearsal.py has the rates of two."""
    every = tasks.load(paper_config())
    resources, seconds = every["glue"].settings["resources"], {}
    for run in every["glue"].runs():
        name, wildcards = f"{run['method']}/{run['variant']}", {"task": "glue"} | run
        job = Job("train_glue", wildcards, [], "", gpus=1, runs_per_gpu=grid.runs_per_gpu(resources, name))
        job.work = estimates.work(every, job.rule, wildcards)
        wall = estimates.by_rates(cards.rates(), every, job) * job.runs_per_gpu
        seconds[tuple(run.values())] = wall, job.runs_per_gpu
    (row,) = [row for row in cards.read() if (row["card"], row["table"]) == (cards.DEFAULT, "glue")]
    hours = sum(wall / shared for wall, shared in seconds.values()) / 3600
    assert hours == pytest.approx(float(row["gpu_hours"]), rel=0.005)
    assert max(wall for wall, _ in seconds.values()) / 3600 == pytest.approx(float(row["longest_hours"]), rel=0.005)


def test_a_task_fits_if_the_card_has_the_memory_of_its_largest_jobs(tmp_path):
    def job(rule: str, peak: int, gpu: int = 1, run: str = "", **wildcards) -> dict:
        method, _, variant = run.partition("/")
        wildcards |= {"method": method, "variant": variant}
        return {"rule": rule, "gpu": gpu, "peak_bytes": peak * 10**9, "wildcards": wildcards}

    jobs = [
        job("train_glue", 5, task="glue", run="boft/m2b8"),  # two share a GPU
        job("train_glue", 4, task="glue", run="hra/r8"),  # three
        job("evaluate_glue", 6, task="glue"),
        job("train_math", 5, task="math", run="hra/r32"),
        job("generate_math", 90),
        job("augment", 9, gpu=0, task="glue"),
    ]
    files.write_json(tmp_path / "rehearsal.json", {"jobs": jobs})
    found = {task: one.values() for task, one in cards.memory(tmp_path, "h100").items()}  # peak, needed, fits
    assert [*found["glue"]] == [6 * 10**9, 12 * 10**9, True] and [*found["math"]] == [90 * 10**9, 90 * 10**9, False]


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
