"""`hra-workflow smoke --profile slurm` on a real Slurm: what it finds, and that its jobs go through sbatch."""

import json
import re

from grid import COMMAND, PROGRAM, QUICK, new_project

ONE_RUN = "tasks: {glue: {grid: [{runs: [hra/r8], datasets: [sentences], seeds: [0]}]}}\n"


def test_smoke_runs_its_jobs_through_sbatch(cluster, tmp_path):
    project = new_project(tmp_path / "project")
    (project.folder / "one.yaml").write_text(ONE_RUN)
    command, targets = (*COMMAND, "one.yaml", "-q", "rules", "--config"), ("preflight_glue", "preflight_math")
    output = project.snakemake(*command, "preflight=True", *QUICK, "--retries", "1", "--", *targets, program=PROGRAM)
    found = dict(re.findall(r"^  ok    (.+?): (.+)$", output, re.MULTILINE))
    assert "TODO" not in output
    for task, rows in (("glue", 16), ("math", 8)):
        assert found[f"{task} hra/r8, kill and resume"] == "killed at step 10, resumed from step 10"
        assert f"s a step of {rows} rows" in found[f"{task} hra/r8, training"]
    report = json.loads((project.folder / "results/preflight.json").read_text())
    stages = {(one["task"], one["stage"]) for one in report["rates"] if one["seconds_per_row"] > 0}
    assert stages == {("glue", "train"), ("glue", "evaluate"), ("math", "train"), ("math", "generate")}
    submitted = {folder.name.removeprefix("rule_") for folder in (project.folder / "logs/slurm").iterdir()}
    assert submitted >= {"augment", "train_glue", "evaluate_glue", "train_math", "generate_math"}
    assert not any((project.folder / folder / "preflight").exists() for folder in ("results", "resources", "scratch"))
