"""What a site may choose, on a real Slurm: partitions by GPU count, accounts by stage, GPUs by gres, job arrays.

Without an accounting database, Slurm takes any account; only sacctmgr, which the executor asks, is a stand-in.
"""

import re

from grid import PROGRAM, QUICK
from project import Project
from support import ROOT

SNAKEFILE = """
rule all:
    input: expand("train/{seed}", seed=range(3)), "evaluate/0", "evaluate/1"

rule train: # of the array's tasks, the first one outlasts the others, and the third one fails
    output: "train/{seed}"
    resources: stage="train", gpu=2, mem_mb=500, runtime=5
    shell:
        "task=${{SLURM_ARRAY_TASK_ID-}}; [ \\"$task\\" != 1 ] || sleep 4; [ \\"$task\\" != 3 ]; "
        "echo $CUDA_VISIBLE_DEVICES > {output}"

rule evaluate: # becomes ready one by one, and requests different things
    input: "train/{seed}"
    output: "evaluate/{seed}"
    resources: gpu=lambda wildcards: int(wildcards.seed), mem_mb=500, runtime=5
    shell: "echo ${{CUDA_VISIBLE_DEVICES-}} > {output}"
"""
SITE = {
    "HRA_SLURM_GRES": "1",
    "HRA_SLURM_GPU_MODEL": "fake",
    "HRA_SLURM_ACCOUNT": "lab",
    "HRA_SLURM_ACCOUNT_TRAIN": "grant",
    "HRA_SLURM_ARRAYS": "all",
}
COLUMNS = "%i|%k|%P|%a|%b|%Z|%T"


def test_each_job_has_the_requests_of_its_kind_and_an_array_is_one_job_whose_failed_task_alone_is_retried(
    cluster, tmp_path, monkeypatch
):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (example,) = re.findall(r"```text\n(partitions:.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    (tmp_path / "partitions.yaml").write_text(example)
    (tmp_path / "sacctmgr").write_text("#!/bin/sh\nprintf 'lab\\ngrant\\n'\n")
    (tmp_path / "sacctmgr").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name, value in (SITE | {"HRA_SLURM_PARTITIONS": str(tmp_path / "partitions.yaml")}).items():
        monkeypatch.setenv(name, value)
    command = ("--profile", str(ROOT / "slurm"), *QUICK, "--latency-wait", "1", "--retries", "1")
    output = Project(tmp_path).snakemake(*command, program=PROGRAM)
    every = [line.split("|") for line in cluster.slurm("squeue", "-h", "-t", "all", "-o", COLUMNS).splitlines()]
    jobs = [job for job in every if job[5] == str(tmp_path)]
    train, evaluate = ([job for job in jobs if f"rule_{rule}" in job[1]] for rule in ("train", "evaluate"))
    assert {tuple(job[2:5]) for job in train} == {("gpu-nodes", "grant", "gres/gpu:fake:2")}
    others = {("gpu-shared", "lab", "gres/gpu:fake:1"), ("cpu", "lab", "N/A")}
    assert {tuple(job[2:5]) for job in evaluate} == others
    for seed in range(3):
        assert re.fullmatch(r"\d,\d\n", (tmp_path / f"train/{seed}").read_text())
    assert re.fullmatch(r"\d\n", (tmp_path / "evaluate/1").read_text())

    trained = {job[0]: job[-1] for job in train}
    array, alone = sorted({number.partition("_")[0] for number in trained}, key=int)
    ended = {f"{array}_1": "COMPLETED", f"{array}_2": "COMPLETED", f"{array}_3": "FAILED", alone: "COMPLETED"}
    assert trained == ended and output.count("Trying to restart job") == 1
    for task in range(1, 4):
        assert "train/" in (tmp_path / f"logs/slurm/rule_train/{array}_{task}.log").read_text()
    assert f"logs/slurm/rule_train/{array}_3.log (check log file" in output
