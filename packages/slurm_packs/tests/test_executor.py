"""Snakemake with `--executor slurm-packs`, from the command line, on a stand-in for Slurm."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_slurm_packs import UNPACK, Executor

SNAKEFILE = """
rule all:
    input: "a/0.txt", "a/1.txt", "a/2.txt", "b/0.txt", "alone.txt", "many-0.log", "many-1.log", "last.txt"

rule train:
    output: "{name}/{seed}.txt"
    resources: gpu=1, mem_mb=10, runtime=5, jobs_per_gpu=lambda wildcards, attempt: 2 if attempt == 1 else 1
    # The first attempt of a/1 fails.
    shell: "echo ${{PACKED_JOBS:-1}} > {output}; [ {output} != a/1.txt ] || [ -e tried ] || {{ touch tried; exit 3; }}"

rule alone:
    output: "alone.txt"
    resources: mem_mb=10, runtime=5, slurm_partition="mine"
    shell: "touch {output}"

rule many:
    output: "many-{number}.log"
    resources: mem_mb=10, runtime=5
    shell: "touch {output}"

rule first:
    output: "first.txt"
    group: "group"
    resources: mem_mb=10, runtime=5
    shell: "touch {output}"

rule last:
    input: "first.txt"
    output: "last.txt"
    group: "group"
    resources: mem_mb=10, runtime=5
    shell: "touch {output}"
"""
PROGRAM = str(Path(__file__).with_name("impatient_snakemake.py"))
COMMAND = [sys.executable, PROGRAM, "--executor", "slurm-packs", "--jobs", "9", "--retries", "1"]
OPTIONS = [
    *("--slurm-packs-init-seconds-before-status-checks", "1", "--slurm-packs-replicates", "seed"),
    *("--slurm-packs-partition", "cpu", "--slurm-packs-gpu-partition", "gpu", "--slurm-packs-gpu-model", "fake"),
    *("--slurm-packs-status-command", "squeue", "--slurm-packs-logdir", "logs", "--slurm-packs-keep-successful-logs"),
    *("--slurm-packs-environment", "environment.tar", "--slurm-packs-array-jobs", "alone,many"),
]


def snakemake(*options: str, ok: bool = True) -> str:
    done = subprocess.run([*COMMAND, *OPTIONS, *options], capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


REFUSED = """
rule all:
    input: "0", "1"

rule job:
    output: "{number}"
    resources: mem_mb=10, runtime=5, jobs_per_allocation=2
    shell: "touch {output}"
"""


@pytest.mark.slow
def test_a_pack_is_submitted_again_if_sbatch_fails(slurm):
    Path("Snakefile").write_text(REFUSED)
    Path("environment.tar").touch()
    slurm.refuse(times=2)
    output = snakemake("--slurm-packs-array-jobs", "", "--retries", "0")
    assert re.findall(r"pack is submitted again in (\d) s", output) == ["1", "3"]
    assert "Unable to contact slurm controller" in output
    assert len(slurm.jobs()) == 1


@pytest.mark.parametrize("properties", [{"pauses": ()}, {"array": Path("script")}, {"attempt": 2}])
def test_a_submission_that_failed_is_not_repeated_for_ever(properties):
    submission = SimpleNamespace(**{"name": "job", "pauses": (1, 2), "array": None, "attempt": 1} | properties)
    assert not Executor.__new__(Executor).submit_again(submission, "sbatch failed")


@pytest.mark.slow
def test_replicates_share_a_gpu_a_failed_job_is_retried_alone_and_silence_loses_no_job(slurm):
    Path("Snakefile").write_text(SNAKEFILE)
    Path("environment.tar").touch()
    assert "Job arrays need squeue" in snakemake("--slurm-packs-status-command", "sacct", ok=False)
    slurm.be_silent(times=8)  # the base class gives up after five
    output = snakemake()
    # What shared a GPU: first two replicates, then, when no more arrive, the others. The failed one then has its own.
    assert {name: Path(f"{name}.txt").read_text() for name in ("a/0", "a/1", "a/2", "b/0")} == {
        "a/0": "2\n", "a/1": "1\n", "a/2": "2\n", "b/0": "2\n"
    }  # fmt: skip
    jobs = slurm.jobs()
    packs = [re.sub(r"_\w{12}$", "", job["comment"]) for job in jobs]
    assert Counter(re.sub(r"many_wildcards_\d", "many", pack) for pack in packs) == {
        "rule_alone": 1, "rule_pack_wildcards_2": 2, "rule_train_wildcards_a_1": 1, "rule_many": 2,
        "rule_group_first_last": 1
    }, output  # fmt: skip
    tasks = [job["options"] for job in jobs if "--array=1-2" in job["options"]]
    assert len(tasks) == 2 and all(" --mem 10 " in options for options in tasks)
    assert output.count("Trying to restart job") == 1
    (folder,) = Path(".snakemake/slurm_packs").absolute().iterdir()
    written = (folder / UNPACK.name).stat().st_mtime_ns  # before the first job, which executes it
    assert written < min(path.stat().st_mtime_ns for path in slurm.folder.glob("*.job"))
    for job in jobs:
        assert job["command"].startswith(f"{folder / UNPACK.name} environment.tar {sys.prefix} && ")
        gpu = "--gpus=fake:1" in job["options"]
        assert gpu == job["comment"].startswith(("rule_pack", "rule_train"))
        assert f"-p {'gpu' if gpu else 'mine' if 'rule_alone' in job['comment'] else 'cpu'}" in job["options"]
        assert ("--mem 20" in job["options"]) == job["comment"].startswith("rule_pack")
    lines = (folder / "jobs.jsonl").read_text().splitlines()
    recorded = {
        output: job["digest"] for line in lines for job in json.loads(line)["jobs"] for output in job["outputs"]
    }
    # An array and a group are not taken over.
    assert sorted(output for output in recorded if not recorded[output]) == ["last.txt", "many-0.log", "many-1.log"]
    assert sorted(recorded) == [
        *("a/0.txt", "a/1.txt", "a/2.txt", "alone.txt", "b/0.txt", "last.txt"),
        *("many-0.log", "many-1.log"),
    ]
    assert "Nothing to be done" in snakemake()
