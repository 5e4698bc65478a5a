"""Trials of hyper-parameters in the workflow: what a changed search plans, and what a changed choice trains again."""

import json

import pytest

from project import Project
from support import ROOT

TUNED = """
tasks:
  glue:
    tune: {search: {learning_rate: [1.0e-3, 2.0e-3]}, trials: 2}
    grid:
      - {runs: [lora/r8, hra/r8], datasets: [cola], seeds: [0, 1]}
    resources: {gpu: 0, threads: 1, mem_mb: 1000, runtime: 10}
    columns:
      - {name: CoLA, dataset: cola, benchmark: validation, metric: matthews_correlation}
"""
# A trial of LoRA is the better, the smaller its learning rate; of HRA, the larger. From 1 on, it diverges.
TRAIN = """
from pathlib import Path
from hra_workflow.core import job, made_from, records, tuning
job = job.from_snakemake(snakemake)
tuning.require_choice(job)
rate = job["params"]["hyperparameters"]["learning_rate"]
score = rate if snakemake.wildcards.method == "hra" else -rate
record = {"status": "ok", "seconds": 1, "device": "CPU", "adapter_bytes": 1, "learning_rate": rate}
record |= job["wildcards"] | {"seed": int(snakemake.wildcards.seed)}
record["made_from"] = made_from.of_training(job, 0, None)
if rate < 1:
    record["held_out"] = {"metric": "matthews_correlation", "value": score, "rows": 855, "train_rows": 7696}
else:
    record |= {"status": "diverged", "error": "the loss is nan"}
for path in snakemake.output:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch() if Path(path).suffix else Path(path).mkdir(exist_ok=True)
records.write(snakemake.output.record, record)
with open("trained", "a") as stream:
    print(Path(snakemake.output.record).parent, file=stream)
"""
METHODS, TABLE = ("lora", "hra"), "results/table_glue.csv"
RATES = "[1.0e-3, 2.0e-3]}, trials: 2"


def tuned(fresh: Project, folder) -> Project:
    """Provide a project whose trainings write a score, with the real choice between them."""
    project = fresh.copy(folder)
    project.stand_in()
    scripts = project.folder / "workflow/scripts"
    for script in scripts.glob("*.py"):  # a manifest has an SHA-256
        script.write_text(script.read_text().replace("path.touch()", "path.write_text('{}')"))
    (scripts / "train_glue.py").write_text(TRAIN)
    (scripts / "choose.py").write_text((ROOT / "workflow/scripts/choose.py").read_text())
    (project.folder / "tuned.yaml").write_text(TUNED)
    return project


def trials(*rates: str) -> set[str]:
    return {
        f"task=glue dataset=cola method={method} variant=r8@learning_rate-{rate} seed=1000"
        for method in METHODS
        for rate in rates
    }


def finals(*methods: str) -> set[str]:
    return {f"task=glue dataset=cola method={method} variant=r8 seed={seed}" for method in methods for seed in (0, 1)}


@pytest.mark.slow
def test_a_new_value_is_one_trial_and_only_a_changed_choice_trains_again(fresh, tmp_path):
    project = tuned(fresh, tmp_path / "project")
    command = ("--cores", "2", "--configfile", "tuned.yaml", "-q", "all", "--", TABLE)
    planned = project.plan(TABLE, config="tuned.yaml")
    assert planned["train_glue"] == trials("0.001", "0.002") | finals("lora", "hra")
    # One initial adapter per run and seed, which the trials share; their seed is none of the final trainings'.
    assert planned["augment"] == {f"task=glue method={m} variant=r8 seed={s}" for m in METHODS for s in (0, 1, 1000)}

    project.snakemake(*command)
    results = project.folder / "results/glue/cola"
    rates = {m: json.loads((results / m / "r8/seed1/train.json").read_text())["learning_rate"] for m in ("lora", "hra")}
    assert rates == {"lora": 0.001, "hra": 0.002}
    assert project.plan(TABLE, config="tuned.yaml") == {}

    project.change("tuned.yaml", RATES, "[1.0e-3, 4.0e-3, 2.0e-3]}, trials: 3")
    planned = project.plan(TABLE, config="tuned.yaml")
    assert planned.pop("train_glue") == trials("0.004")
    choices = {f"task=glue dataset=cola method={method} variant=r8" for method in ("lora", "hra")}
    assert planned == {"choose": choices} | {
        name: {"task=glue"} for name in ("collect_trials", "runs", "compare", "table")
    }

    (project.folder / "trained").unlink()
    project.snakemake(*command)
    trained = set((project.folder / "trained").read_text().split())
    again = {f"results/glue/cola/hra/r8/seed{seed}" for seed in (0, 1)}  # not LoRA, whose choice has not changed
    assert trained == again | {f"results/glue/cola/{m}/r8@learning_rate-0.004/seed1000" for m in ("lora", "hra")}
    assert project.plan(TABLE, config="tuned.yaml") == {}


def test_only_tuned_tasks_have_a_table_of_trials(fresh):
    said = fresh.snakemake("-n", "-q", "all", "--configfile", "small.yaml", "--", "results/tune_glue.csv", ok=False)
    assert "No rule to produce results/tune_glue.csv" in said


@pytest.mark.slow
def test_if_all_trials_of_a_method_fail_the_others_go_on(fresh, tmp_path):
    project = tuned(fresh, tmp_path / "project")
    project.change("tuned.yaml", RATES, RATES + ", methods: {lora: {learning_rate: [1.0, 2.0]}}")
    output = project.snakemake("--cores", "2", "--configfile", "tuned.yaml", "--", TABLE, ok=False)
    assert "none of the 2 trials of lora/r8 on cola has a final score. The first error: the loss is nan" in output
    records = {str(path.parent) for path in (project.folder / "results/glue/cola").glob("*/r8/seed*/train.json")}
    assert {path.split("glue/cola/")[1] for path in records} == {"hra/r8/seed0", "hra/r8/seed1"}
    # What is left to do, and the table without it.
    assert project.plan(TABLE, config="tuned.yaml")["train_glue"] == finals("lora")
    incomplete = project.plan(TABLE, config="tuned.yaml", extra=("--config", "incomplete=True"))
    assert incomplete.keys() == {"runs", "compare", "table"}
