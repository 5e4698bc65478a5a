"""A tuned run with the real scripts on tiny models: its export, and the refusal of other trials' records."""

import json
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
    project.snakemake(*COMMAND, "--", TABLE)
    request = json.dumps({"command": "export", "run": "results/glue/made/hra/r8/seed0", "weights": "best"})
    project.snakemake(*COMMAND, "--config", f"request={request}", "--", "export")
    assert (project.folder / "results/glue/made/hra/r8/seed0/hub/best/README.md").exists()

    # One trial is copied over another.
    runs = project.folder / "results/glue/made/hra"
    trials = [runs / f"r8@learning_rate-{rate}/seed1000/train.json" for rate in ("0.01", "0.02")]
    shutil.copy(trials[1], trials[0])
    refused = project.snakemake(*COMMAND, "--", TABLE, ok=False)
    assert "learning_rate 0.02, now 0.01; delete results/glue/made/hra/r8@learning_rate-0.01/seed1000/train" in refused
