"""The last lines of a dry run: where its jobs would run, and their wall time."""

import os
from types import SimpleNamespace

import pytest

from hra_workflow.cost import hours
from hra_workflow.snakemake_bridge import where
from test_gpu_hours import run


@pytest.fixture
def described(here, monkeypatch):
    """described(requests, …): the lines of a dry run with these jobs, each of which takes two hours."""

    def lines(requests: list[dict], cores: int = 1, jobs: int | None = None, slurm=None, threads=True) -> list[str]:
        entry = SimpleNamespace(load=lambda: lambda jobs: slurm)
        monkeypatch.setattr(where, "entry_points", lambda group: [entry] * (group == where.RESOURCES))
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(4))
        workflow = SimpleNamespace(
            resource_settings=SimpleNamespace(cores=cores, nodes=jobs),
            execution_settings=SimpleNamespace(use_threads=jobs is not None and threads),
        )
        left = [run("train_glue", "train.json", task="glue", dataset=str(at)) for at in range(len(requests))]
        for job, request in zip(left, requests, strict=True):
            job.gpus, job.runs_per_gpu = request.get("gpu", 0), request.get("runs", 1)
            job.work, job.seconds = 10.0, 7200.0 * max(1, job.gpus) / job.runs_per_gpu
        planned = [SimpleNamespace(resources=request) for request in requests]
        return list(where.lines(workflow, planned, hours.add_up([], left)))

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return lines


def test_jobs_on_this_machine(described, monkeypatch):
    assert described([{}] * 8, cores=4) == ["where:    this machine, 4 cores", "wall time: at least about 4 hours"]
    assert described([{}], cores=1, jobs=2, threads=False)[0].startswith("where:    this machine, ")
    longest = "wall time: at least about 2 hours, as long as glue/0/hra/r8/seed0 takes"
    assert described([{}], cores=99) == ["where:    this machine, 4 cores", longest]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert described([{"gpu": 1}, {"gpu": 2}, {"gpu": 1, "runs": 2}], cores=4) == [
        "where:    this machine, 4 cores, 2 GPUs",
        "wall time: at least about 3.5 hours",
    ]


@pytest.mark.parametrize(("visible", "has"), [("", "no GPU"), ("0", "1 GPU")])
def test_a_machine_with_too_few_gpus_says_so_and_has_no_wall_time(described, monkeypatch, visible, has):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert described([{"gpu": 1}, {"gpu": 2}], cores=4) == [
        f"where:    this machine, 4 cores; this machine has {has}, a job requests 2: "
        "use your scheduler's profile (--profile slurm)"
    ]


def test_jobs_on_slurm(described):
    requests = [{"slurm_account": "x", "slurm_partition": name, "gpu_model": "a100"} for name in ("cpu", "gpu")]
    assert described([{"gpu": 1}] * 300, 100, 100, requests) == [
        "where:    Slurm: account x, partition cpu and gpu, GPU model a100, up to 100 jobs at a time",
        "wall time: at least about 6 hours",
    ]
    assert described([{"gpu": 1}], 100, 100, [{"qos": "long"}])[0] == (
        "where:    Slurm: QOS long, the account and partition that Slurm chooses by default (set "
        "HRA_SLURM_ACCOUNT, HRA_SLURM_PARTITION), up to 100 jobs at a time"
    )
