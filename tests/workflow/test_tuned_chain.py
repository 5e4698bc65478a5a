"""A tuned run with the real scripts on tiny models: its export, and the refusal of other trials' records."""

import json
import re
import shutil

import pytest

from support import TINY_MODEL
from tiny_demo import real_project, tiny_demo

TINY = tiny_demo(
    "glue",
    {"made": "sentiment"},
    """
models: {tiny: {head: [classifier], targets: {paper: [query, output.dense]}}}
datasets: {glue: {made: {source: {rows: {train: 48, validation: 32}}}}}
presets: {glue: {tiny: {all: {epochs: 1, learning_rate: 0.5, warmup_steps: 0, max_length: 32, eval_steps: 3}}}}
tasks:
  glue:
    model: tiny
    held_out: {share: 0.25}
    tune: {search: {learning_rate: [0.01, 0.02]}, trials: 2}
    grid: [{runs: [hra/r8], datasets: [made], seeds: [0]}]
    columns: [{name: Made, dataset: made, benchmark: validation, metric: accuracy}]
    averages: []
    figures: {parameters: [Made], lambda: [Made]}
""",
)
TINY["models"]["tiny"]["source"] = TINY_MODEL
COMMAND = ("--cores", "2", "--configfile", "tiny.yaml")
TABLE = "results/table_glue.csv"


@pytest.mark.slow
def test_a_tuned_run_is_exported_and_its_trials_are_those_of_the_config(fresh, tmp_path):
    project = real_project(fresh, tmp_path / "project", TINY)
    run = "results/glue/made/hra/r8/seed0"
    runs = project.folder / "results/glue/made/hra"
    trials = [runs / f"r8@learning_rate-{rate}/seed1000/train.json" for rate in ("0.01", "0.02")]

    project.snakemake(*COMMAND, "--", TABLE)
    for request in ({}, {"run": run}, {"run": run, "weights": "best"}):
        asked = f"request={json.dumps(request | {'command': 'export'})}"
        project.snakemake(*COMMAND, "--config", asked, "--", "export")
    assert {path.parent.name for path in (project.folder / run).glob("hub/*/README.md")} == {"best", "last"}

    # One trial is copied over another.
    before, first = (project.folder / run / "train.json").read_text(), trials[0].read_text()
    shutil.copy(trials[1], trials[0])
    refused = project.snakemake(*COMMAND, "--", TABLE, ok=False)
    assert "learning_rate 0.02, now 0.01; delete results/glue/made/hra/r8@learning_rate-0.01/seed1000/train" in refused
    trials[0].unlink()
    project.snakemake(*COMMAND, "--", TABLE)
    assert json.loads(trials[0].read_text())["held_out"] == json.loads(first)["held_out"]
    assert (project.folder / run / "train.json").read_text() == before

    # Copied without Snakemake's records, to a config with more epochs.
    shutil.rmtree(project.folder / ".snakemake")
    project.change("tiny.yaml", "epochs: 1", "epochs: 2")
    for path in project.folder.glob("results/*.csv"):
        path.unlink()
    refused = project.snakemake(*COMMAND, "--", TABLE, ok=False)
    assert {str(path.relative_to(project.folder)) for path in trials} <= {*re.findall(r"; delete (\S+\.json)", refused)}
