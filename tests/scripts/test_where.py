"""The last line of a dry run: where its jobs would run."""

import os
from types import SimpleNamespace

import pytest

from hra_workflow.snakemake_bridge import dry_run


@pytest.fixture
def described(monkeypatch):
    """described(requests, …): the line of a dry run with these jobs."""

    def text(requests: list[dict], cores: int = 1, jobs: int | None = None, slurm=None, threads=True) -> str:
        entry = SimpleNamespace(load=lambda: lambda jobs: slurm)
        monkeypatch.setattr(dry_run, "entry_points", lambda group: [entry] * (group == dry_run.RESOURCES))
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(4))
        workflow = SimpleNamespace(
            resource_settings=SimpleNamespace(cores=cores, nodes=jobs),
            execution_settings=SimpleNamespace(use_threads=jobs is not None and threads),
        )
        return dry_run.where(workflow, [SimpleNamespace(resources=request) for request in requests])

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return text


def test_jobs_on_this_machine(described, monkeypatch):
    assert described([{}], cores=1, jobs=2, threads=False) == "this machine, 1 core"
    assert described([{}], cores=99) == "this machine, 4 cores"
    requests = [{"gpu": 1}, {"gpu": 2}]
    for visible, has in (("", "no GPU"), ("0", "1 GPU")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        few = f"this machine has {has}, a job requests 2: use your scheduler's profile (--profile slurm)"
        assert described(requests, cores=4) == f"this machine, 4 cores; {few}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert described(requests, cores=4) == "this machine, 4 cores, 2 GPUs"


def test_jobs_on_slurm(described):
    requests = [{"slurm_account": "x", "slurm_partition": name, "gpu_model": "a100"} for name in ("cpu", "gpu")]
    assert described([{"gpu": 1}] * 300, 100, 100, requests) == (
        "Slurm: account x, partition cpu and gpu, GPU model a100, up to 100 jobs at a time"
    )
    assert described([{"gpu": 1}], 100, 100, [{"qos": "long"}]) == (
        "Slurm: QOS long, the account and partition that Slurm chooses by default (set "
        "HRA_SLURM_ACCOUNT, HRA_SLURM_PARTITION), up to 100 jobs at a time"
    )
