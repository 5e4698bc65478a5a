"""What a site may choose, on a real Slurm: partitions by GPU count, accounts by stage, GPUs by gres, job arrays.

Without an accounting database, Slurm takes any account; only sacctmgr, which the executor asks, is a stand-in.
"""

import re

import pytest

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


@pytest.fixture(scope="module")
def site(cluster, tmp_path_factory):
    """Run a workflow with the profile, as a site has set it up."""
    folder, tools = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("tools")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (example,) = re.findall(r"```text\n(partitions:.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    (folder / "partitions.yaml").write_text(example)
    (tools / "sacctmgr").write_text("#!/bin/sh\nprintf 'lab\\ngrant\\n'\n")
    (tools / "sacctmgr").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tools), prepend=":")
        patch.setenv("HRA_SLURM_PARTITIONS", str(folder / "partitions.yaml"))
        for name, value in SITE.items():
            patch.setenv(name, value)
        command = ("--profile", str(ROOT / "slurm"), *QUICK, "--latency-wait", "1", "--retries", "1")
        output = Project(folder).snakemake(*command, program=PROGRAM)
    jobs = [line.split("|") for line in cluster.slurm("squeue", "-h", "-t", "all", "-o", COLUMNS).splitlines()]
    return folder, output, [job for job in jobs if job[5] == str(folder)]


def requests(jobs: list, rule: str) -> set[tuple]:
    return {tuple(job[2:5]) for job in jobs if job[1].startswith(f"rule_{rule}")}


def test_each_job_has_the_partition_account_and_gpus_of_its_kind(site):
    folder, _, jobs = site
    assert requests(jobs, "train") == {("gpu-nodes", "grant", "gres/gpu:fake:2")}
    assert requests(jobs, "evaluate") == {("gpu-shared", "lab", "gres/gpu:fake:1"), ("cpu", "lab", "N/A")}
    for seed in range(3):
        assert re.fullmatch(r"\d,\d\n", (folder / f"train/{seed}").read_text())
    assert re.fullmatch(r"\d\n", (folder / "evaluate/1").read_text())


def test_an_array_is_one_job_whose_failed_task_alone_is_retried(site):
    folder, output, jobs = site
    trained = {job[0]: job[-1] for job in jobs if "rule_train" in job[1]}
    array, *alone = sorted({number.partition("_")[0] for number in trained}, key=int)
    assert trained == {
        f"{array}_1": "COMPLETED",
        f"{array}_2": "COMPLETED",
        f"{array}_3": "FAILED",
        alone[0]: "COMPLETED",
    }
    assert output.count("Trying to restart job") == 1
    for task in range(1, 4):
        assert "train/" in (folder / f"logs/slurm/rule_train/{array}_{task}.log").read_text()
    assert f"logs/slurm/rule_train/{array}_3.log (check log file" in output
