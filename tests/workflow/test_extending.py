"""docs/extending.md: its files, copied into a copy of the workflow, are a fifth task; no existing file changes."""

import inspect
import json
import re

import pytest
import yaml

from hra_workflow import tasks
from hra_workflow.tasks.base import Task
from project import Project
from support import ROOT, SETTINGS, TARGETS, TINY_MODEL, write_sentences

PAGE = (ROOT / "docs/extending.md").read_text()
MINE = {
    "local_root": "data",
    "models": {"tiny": {"source": TINY_MODEL, "head": ["classifier"], "targets": {"paper": TARGETS}}},
    "presets": {"intents": {"tiny": {"source": "test", "all": SETTINGS}}},
    "tasks": {
        "intents": {
            "model": "tiny",
            "preset": "tiny",
            "grid": [{"runs": ["full/all", "hra/r8"], "datasets": ["assistant"], "seeds": [0]}],
            "resources": {"gpu": 0, "threads": 1, "mem_mb": 1000, "runtime": 10},
        }
    },
}
TARGETS_OF_TASK = ("results/table_intents.csv", "results/figures/intents_parameters.png")


@pytest.fixture
def extended(tmp_path) -> Project:
    """Set up the workflow with the files of the page, and a config that makes them small."""
    project = Project.fresh(tmp_path / "project")
    existing = {path for path in project.folder.rglob("*") if path.is_file()}
    blocks = re.findall(r"```\w+\n(?:#|//|\.\.) (\S+)\n(.*?)```", PAGE, re.DOTALL)
    added = {project.folder / path: text for path, text in blocks}
    added[project.folder / "workflow/hra_workflow/tasks/intents/__init__.py"] = ""
    for path, text in added.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert len(added) == 8 and not existing & added.keys()
    project.link_library()
    (project.folder / "data").mkdir()
    write_sentences(project.folder / "data/intents")
    (project.folder / "mine.yaml").write_text(yaml.safe_dump(MINE))
    return project


def test_a_task_states_a_dozen_names_at_most_which_its_docstring_lists():
    listed = {*re.findall(r"^(\w+): ", inspect.getdoc(Task), re.MULTILINE)}
    assert listed <= {*Task.__annotations__, *vars(Task)} and len(listed) <= 12
    for kind in tasks.classes().values():
        assert {name for name in vars(kind) if not name.startswith("_")} <= listed


def test_the_jobs_of_a_fifth_task_are_charged_to_the_accounts_of_their_stages(extended, monkeypatch):
    for name, script in {"sbatch": "echo Job 1 to start >&2", "sacctmgr": "echo lab; echo grant"}.items():
        (extended.folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (extended.folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(extended.folder), prepend=":")
    for name, value in {"PARTITION": "gpu", "ACCOUNT": "lab", "ACCOUNT_TRAIN": "grant"}.items():
        monkeypatch.setenv(f"HRA_SLURM_{name}", value)
    command = ("-n", "-q", "--profile", "slurm", "--configfile", "mine.yaml", "--config", "preflight=login")
    output = extended.snakemake(*command, "--", "preflight_intents")
    asked = dict(re.findall(r"ok    Slurm, (.*): Job 1 to start \(-A (\w+) ", output))
    assert asked["train_intents"] == "grant" and asked["evaluate_intents"] == "lab", output


@pytest.mark.full
def test_a_fifth_task_is_planned_and_makes_its_table_and_figures(extended):
    plan = extended.plan(*TARGETS_OF_TASK, config="mine.yaml")
    runs = {f"task=intents dataset=assistant method={run} seed=0" for run in ("full variant=all", "hra variant=r8")}
    assert plan["train_intents"] == runs
    output = extended.snakemake("-n", "-q", "rules", "--configfile", "mine.yaml", "--", TARGETS_OF_TASK[0])
    assert re.search(r"table_intents: \d+ jobs \(0 done\), including 2 training runs, 2 evaluations", output)
    wrong = ("--config", "tasks={intents: {sedes: [1]}}")
    assert "tasks.intents: 'sedes' is not one of" in extended.snakemake(
        "-n", "--configfile", "mine.yaml", *wrong, "--", TARGETS_OF_TASK[0], ok=False
    )
    extended.snakemake("--cores", "2", "-q", "rules", "--configfile", "mine.yaml", "--", *TARGETS_OF_TASK)
    table = (extended.folder / TARGETS_OF_TASK[0]).read_text()
    assert "Assistant" in table and "best_on_dev" in table and table.count("hra/r8") > 0
    record = json.loads((extended.folder / "results/intents/assistant/hra/r8/seed0/train.json").read_text())
    assert record["task"] == "intents" and record["status"] == "ok"
    assert (extended.folder / TARGETS_OF_TASK[1]).stat().st_size > 10_000
