"""`make preflight PROFILE=slurm` on a real Slurm: what it finds, and that its jobs go through sbatch."""

import json

from grid import COMMAND, PROGRAM, QUICK, new_project

ONE_RUN = "tasks: {glue: {grid: [{runs: [hra/r8], datasets: [sentences], seeds: [0]}]}}\n"


def test_preflight_checks_the_partition_and_runs_its_jobs_through_sbatch(cluster, tmp_path):
    project = new_project(tmp_path / "project")
    (project.folder / "one.yaml").write_text(ONE_RUN)
    command = (*COMMAND, "one.yaml", "-q", "rules", "--config")
    project.snakemake(*command, "preflight=login", "-n", "--", "preflight_glue")
    project.snakemake(*command, "preflight=jobs", *QUICK, "--retries", "1", "--", "preflight_glue", program=PROGRAM)
    report = json.loads((project.folder / "results/preflight.json").read_text())
    found = {one["check"]: one["text"] for one in report["findings"]}
    assert all(one["ok"] for one in report["findings"]), found
    assert found["Slurm, train_glue"].startswith("Job ") and "--gpus=1" in found["Slurm, train_glue"]
    assert found["gloo, jobs with 1 GPU"] == "2 processes added up 2"
    assert found["glue hra/r8, kill and resume"] == "killed at step 10, resumed from step 10"
    assert "s a step of 16 rows" in found["glue hra/r8, training"]
    submitted = {folder.name.removeprefix("rule_") for folder in (project.folder / "logs/slurm").iterdir()}
    assert submitted == {"augment", "train_glue", "evaluate_glue", "preflight_device"}
