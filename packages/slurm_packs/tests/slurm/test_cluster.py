"""The README's command on a real Slurm: what is submitted, and what the jobs are given."""

import json
import re

from fault_injection import STOPPED
from grid import COMMAND, TABLES

LOCAL = {"download_model", "download_dataset", "gather_math", "evaluate_glue", "runs", "table"}


def test_the_command_makes_the_tables_through_sbatch(faulty):
    folder = faulty.project.folder
    for table in TABLES:
        assert (folder / table).read_text().count("\n") > 1
    submitted = {folder.name.removeprefix("rule_") for folder in (folder / "logs/slurm").iterdir()}
    assert submitted == set(re.findall(r"^rule (\w+):", faulty.output, re.MULTILINE))
    assert {"augment", "train_glue", "train_math", "generate_math", "evaluate_math", "compare"} == submitted
    assert set(re.findall(r"^localrule (\w+):", faulty.output, re.MULTILINE)) == LOCAL


def test_jobs_that_run_together_see_different_gpus(faulty):
    gpus = {process["job"]: (process["node"], process["gpus"]) for process in faulty.together}
    assert len(gpus) >= len(STOPPED)
    assert len(set(gpus.values())) == len(gpus), gpus
    assert all(re.fullmatch(r"\d", index) for _, index in gpus.values()), gpus


def test_two_gpus_are_two_processes(faulty):
    record = json.loads((faulty.project.folder / "results/math/sums/hra/r8/seed0/train.json").read_text())
    assert record["processes"] == 2
    gpus = {path.name: path.read_text() for path in faulty.faults.glob("rank*")}
    assert sorted(gpus) == ["rank0", "rank1"]
    assert all(len(index.split(",")) == 2 for index in gpus.values()), gpus


def test_a_finished_grid_submits_nothing(faulty):
    assert "Nothing to be done" in faulty.project.snakemake(*COMMAND, "--", *TABLES)
