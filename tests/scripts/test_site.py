"""Disk, what Slurm says to the planned jobs, and GPUs, with stand-ins for Slurm's commands."""

from types import SimpleNamespace

import pytest

from hra_workflow.preflight import findings as report
from hra_workflow.preflight import site
from hra_workflow.snake import planned

STARTS = "sbatch: Job 1 to start at 2026-11-28T05:00:13 using 8 processors on nodes n1 in partition gpu"


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Put commands that print a text and exit with a status on PATH, instead of all others."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, prints: str, status: int = 0) -> None:
        path = tmp_path / name
        stream = 2 if status or name == "sbatch" else 1
        lines = "".join(f"echo '{line}' >&{stream}\n" for line in prints.splitlines())
        path.write_text(f"#!/bin/sh\n{lines}exit {status}\n")
        path.chmod(0o755)

    return put


def request(**changes) -> site.Request:
    values = dict(partition="gpu", account="lab", gpu_model="a100", gpu=1, runtime=400, mem_mb=64000, threads=8)
    return site.Request(**values | changes)


def findings(*wanted: site.Request, most_jobs: int | None = 40) -> list[report.Finding]:
    return list(site.scheduler(list(wanted), most_jobs))


def problems(*wanted: site.Request, **options) -> list[str]:
    return [one.text for one in findings(*wanted, **options) if not one.ok]


def test_slurm_is_asked_once_per_kind_of_job(commands, monkeypatch):
    assert "no Slurm here" in findings(request(gpu=0))[0].text
    commands("sbatch", STARTS)
    gpu, other = findings(request(), request(partition=None, gpu=0, gpu_model=None, runtime=60))
    assert gpu.ok and str(gpu).startswith("  ok    Slurm, GPU jobs: Job 1 to start at ")
    asked = "--account=lab --gpus=a100:1 --time=400 --mem=64000M --cpus-per-task=8"
    assert gpu.text.endswith(f"in partition gpu (--partition=gpu {asked})")
    assert other.check == "Slurm, other jobs" and "gpu=" not in other.text and "--time=60" in other.text
    monkeypatch.setenv("HRA_SLURM_GRES", "1")
    monkeypatch.setenv("HRA_SLURM_QOS", "short")
    assert "--account=lab --qos=short --gres=gpu:a100:1" in findings(request())[0].text


def test_what_slurm_refuses_is_shown_with_the_request(commands):
    commands("sbatch", "allocation failure: Invalid partition name specified", 1)
    (text,) = problems(request(partition="gpus"))
    assert text.startswith("allocation failure: Invalid partition name specified (--partition=gpus ")
    assert "HRA_SLURM_" in text and "`resources` of the task" in text


@pytest.mark.parametrize(
    ("listed", "status", "expected"), [("50\n\n", 0, ["HRA_SLURM_JOBS=50"]), ("no database", 1, [])]
)
def test_the_number_of_jobs_that_may_be_submitted(commands, listed, status, expected):
    commands("sbatch", STARTS)
    commands("sacctmgr", listed, status)
    assert [text.rpartition(" ")[2] for text in problems(request(), most_jobs=100)] == expected


def test_gpus_of_a_machine_without_a_scheduler(commands, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    commands("sbatch", "no controller", 1)  # installed, but not used
    assert "this machine has 0. Choose the profile" in problems(request(gpu=2), most_jobs=None)[0]
    commands("nvidia-smi", "GPU 0: x\nGPU 1: x\n")
    assert not problems(request(gpu=2), most_jobs=None)


def test_disk(tmp_path):
    assert all(one.ok for one in site.free_space({str(tmp_path / "results"): 1e6, str(tmp_path / "deep/scratch"): 0.0}))
    (disk,) = site.free_space({str(tmp_path / "results"): 1e18})
    assert not disk.ok and "1e+09 GB planned" in disk.text and "pathvars" in disk.text


def test_jobs_are_summarised():
    def job(threads=1, **resources):
        return SimpleNamespace(resources=resources, threads=threads)

    jobs = [job(8, gpu=1, runtime=60, mem_mb=10), job(4, gpu=2, runtime=30, mem_mb=20), job(runtime=5)]
    gpu, cpu = planned.requests(jobs)
    assert gpu == site.Request(None, None, None, 2, 60, 20, 8)
    assert cpu == site.Request(None, None, None, 0, 5, 0, 1)
