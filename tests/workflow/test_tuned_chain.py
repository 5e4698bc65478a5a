"""A tuned run with the real scripts on tiny models: its export, and the refusal of other trials' records."""

import json
import re
import shutil

import pytest
from yaml import safe_dump

from support import TINY_MODEL
from tiny_demo import tiny_demo

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
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "tiny.yaml").write_text(safe_dump(TINY))
    results = project.folder / "results"
    runs, run = results / "glue/made/hra", "results/glue/made/hra/r8/seed0"
    trials = [runs / f"r8@learning_rate-{rate}/seed1000/train.json" for rate in ("0.01", "0.02")]

    def record(path) -> dict:
        return json.loads(path.read_text())

    project.snakemake(*COMMAND, "--", TABLE)
    for request in ({"run": "best"}, {"run": run}, {"run": run, "weights": "best"}):
        project.snakemake(
            *COMMAND, "--config", f"request={json.dumps(request | {'command': 'export'})}", "--", "export"
        )
    assert {path.parent.name for path in (project.folder / run).glob("hub/*/README.md")} == {"best", "last"}

    # One trial is copied over another.
    before, first = (project.folder / run / "train.json").read_text(), trials[0].read_text()
    shutil.copy(trials[1], trials[0])
    refused = project.snakemake(*COMMAND, "--", TABLE, ok=False)
    assert "learning_rate 0.02, now 0.01; delete results/glue/made/hra/r8@learning_rate-0.01/seed1000/train" in refused
    trials[0].unlink()
    project.snakemake(*COMMAND, "--", TABLE)
    assert record(trials[0])["held_out"] == json.loads(first)["held_out"]
    assert (project.folder / run / "train.json").read_text() == before

    # Copied without Snakemake's records, to a config with more epochs.
    shutil.rmtree(project.folder / ".snakemake")
    project.change("tiny.yaml", "epochs: 1", "epochs: 2")
    for path in results.glob("*.csv"):
        path.unlink()
    deleted = []
    while named := re.findall(r"; delete (\S+\.json)", printed(project)):
        deleted += dict.fromkeys(named)
        for path in dict.fromkeys(named):
            (project.folder / path).unlink()
    assert set(deleted) == {str(path.relative_to(project.folder)) for path in trials} | {f"{run}/train.json"}
    every = [record(path)["hyperparameters"] for path in (*trials, project.folder / run / "train.json")]
    assert [one["epochs"] for one in every] == [2, 2, 2] and every[2]["learning_rate"] in (0.01, 0.02)
    assert project.plan(TABLE, config="tiny.yaml") == {}


def printed(project) -> str:
    """Make the table, and return the error, or nothing."""
    try:
        project.snakemake(*COMMAND, "--", TABLE)
    except AssertionError as problem:
        print(problem)
        return str(problem)
    return ""
