"""docs/your-own.md: every example is a valid config of one task, and its data are read."""

import json
import re

import pytest
import yaml

from hra_workflow.commands import new as new_project
from hra_workflow.config import overlays
from hra_workflow.core import grid
from hra_workflow.tasks.math import answers
from support import ROOT, merged

PAGE = (ROOT / "docs/your-own.md").read_text()
BLOCKS = dict(re.findall(r"```(?:yaml|python)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
FILES = dict(re.findall(r"`(\S+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))  # the name of a data file precedes it
RUNS = {"model": 1, "method": 6, "flux2": 2, "hint": 4}
TASKS = {"model": "math", "method": "glue", "flux2": "subject", "hint": "control"}


def project(task: str, name: str = "reviews") -> list[dict]:
    """Return the files of a new project, its own last."""
    return [content for _, content in overlays.with_extended([new_project.make(name, task, False)], overlays.read)]


@pytest.mark.parametrize("name", RUNS)
def test_an_example_plans_its_runs_only(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changed = project("control", name="rooms") if name == "hint" else []  # this example changes a project
    config, chosen = merged(*changed, yaml.safe_load(BLOCKS[name]))
    assert chosen == [TASKS[name]]
    assert len(grid.runs(config, TASKS[name])) == RUNS[name]


def test_the_question_is_as_a_project_reads_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = project("math")[-1]["datasets"]["math"]["reviews"]
    (line,) = FILES["questions/data/train.jsonl"].splitlines()
    assert json.loads(line).keys() == {*entry["columns"].values()}
    assert answers.gold(entry["answer"], json.loads(line)[entry["columns"]["answer"]]) == "32"
