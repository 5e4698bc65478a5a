"""The plan of the study at its real size, and the study from the data to the tables in the demo's size."""

import os
import re

import pytest

from project import Project
from support import ROOT, table_rows

STUDY = ROOT / "studies/psoft"
RUNS = ["hra/r16-all", "lora/r8-all", "dora/r8-all", "oft/b32-all"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "part"),
    [("table_glue", "stages:   train "), ("table_math", "licence:  llama-3.2-3b: Llama 3.2")],
)
def test_the_plan_has_the_jobs_of_the_page(project, table, part):
    output = project.snakemake("-n", "--cores", "1", "--configfile", str(STUDY / "config.yaml"), "--", table)
    ((jobs, runs),) = re.findall(
        rf"^{table}: (\d+) jobs \(0 done\), including (\d+) training runs", output, re.MULTILINE
    )
    assert f"{jobs} jobs with {runs} training runs" in (STUDY / "README.md").read_text() and part in output


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, list[dict]]:
    """Run the study in the demo's size; return the rows of both tables."""
    project = Project.fresh(tmp_path_factory.mktemp("psoft") / "project")
    project.link_library()
    with pytest.MonkeyPatch.context() as patch:  # jobs import the study's metrics
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        project.snakemake("--cores", "2", "--configfile", str(STUDY / "demo.yaml"), "--", "table_glue", "table_math")
    return {task: table_rows(project.folder / f"demo/psoft/results/table_{task}.csv") for task in ("glue", "math")}


@pytest.mark.full
@pytest.mark.parametrize(("task", "column"), [("glue", "Sentiment"), ("math", "Word problems")])
def test_the_study_runs_in_the_demo_s_size(tables, task, column):
    last = [row for row in tables[task] if row["selection"] == "last"]
    assert [(row["run"], row["missing"], 0 <= float(row[column]) <= 100) for row in last] == [
        (run, "", True) for run in RUNS
    ]
