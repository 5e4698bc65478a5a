"""Snakemake with `--executor slurm-packs`, from the command line, on a stand-in for Slurm."""

import json
import logging
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_slurm_packs import UNPACK, Executor, ExecutorSettings

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


def test_arrays_are_refused_without_squeue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {"array_jobs": {"all"}, "run_uuid": "a"}
    monkeypatch.setattr(SlurmExecutor, "__init__", lambda self, *_: vars(self).update(found))
    workflow = SimpleNamespace(executor_settings=ExecutorSettings(status_command="sacct"))
    with pytest.raises(WorkflowError, match="Job arrays need squeue"):
        Executor(workflow, logging.getLogger())


@pytest.mark.slow
def test_replicates_share_a_gpu_a_failed_job_is_retried_alone_and_no_silence_or_refusal_loses_a_job(slurm, forked_jobs):
    Path("Snakefile").write_text(SNAKEFILE)
    Path("environment.tar").touch()
    slurm.be_silent(times=8)  # the base class gives up after five
    slurm.refuse_packs(times=1)
    done = subprocess.run([*COMMAND, *OPTIONS], capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert output.count("pack is submitted again in 1 s") == 1 == output.count("Unable to contact slurm controller")
    # What shared a GPU: first two replicates, then, when no more arrive, the others. The failed one then has its own.
    shared = {name: Path(f"{name}.txt").read_text() for name in ("a/0", "a/1", "a/2", "b/0")}
    assert shared == {"a/0": "2\n", "a/1": "1\n", "a/2": "2\n", "b/0": "2\n"}
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
    submitted = [json.loads(line)["jobs"] for line in (folder / "jobs.jsonl").read_text().splitlines()]
    recorded = {output: job["digest"] for pack in submitted for job in pack for output in job["outputs"]}
    assert len(recorded) == 8
    # An array and a group are not taken over.
    assert sorted(output for output in recorded if not recorded[output]) == ["last.txt", "many-0.log", "many-1.log"]
