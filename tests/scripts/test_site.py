"""Disk, partition, account and limits against the planned jobs, with stand-ins for Slurm's commands."""

from types import SimpleNamespace

import pytest

from hra_workflow.preflight import findings as report
from hra_workflow.preflight import site
from hra_workflow.snake import planned

SINFO = """cpu*|1-00:00:00|(null)|32|128000
gpu|08:00:00|gpu:a100:4(S:0-1)|64|512000
gpu|08:00:00|gpu:h100:8|96|1024000
"""
ACCOUNTS = "lab|100|50|2-00:00:00\nother|||\n"


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Put commands that print a text and exit with a status on PATH, instead of all others."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, prints: str, status: int = 0) -> None:
        path = tmp_path / name
        stream = "2" if status else "1"
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


def test_a_request_that_fits_is_ok(commands):
    commands("sinfo", SINFO)
    commands("sacctmgr", ACCOUNTS)
    found = findings(request(), request(partition=None, gpu=0, gpu_model=None, runtime=60))
    assert all(one.ok for one in found), found
    text = " ".join(one.text for one in found)
    assert "480 minutes at most, up to 400 requested" in text and "cpu: 1440 minutes" in text and "lab" in text


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"partition": "gpus"}, "gpus does not exist; set HRA_SLURM_GPU_PARTITION"),
        ({"runtime": 720}, "gpu allows 480 minutes, a job requests 720"),
        ({"gpu": 8}, "no node of gpu has 8 GPU(s) a100"),
        ({"gpu_model": "v100"}, "no node of gpu has 1 GPU(s) v100, but gpu:a100:4"),
        ({"mem_mb": 2_000_000}, "no node of gpu has 8 cores and 2000000 MB"),
        ({"account": "nobody"}, "no account nobody; set HRA_SLURM_ACCOUNT to one of lab, other"),
    ],
)
def test_a_request_that_slurm_would_refuse_says_what_to_do(commands, changes, expected):
    commands("sinfo", SINFO)
    commands("sacctmgr", ACCOUNTS)
    (text,) = problems(request(**changes))
    assert expected in text


def test_limits_of_the_account(commands):
    commands("sinfo", SINFO)
    commands("sacctmgr", "lab||50|05:00:00\n")
    submit, wall = problems(request(), most_jobs=100)
    assert "set HRA_SLURM_JOBS=50" in submit
    assert "a job may run 300 minutes, 400 are requested" in wall


def test_what_is_not_there_is_said(commands):
    assert "no Slurm here" in findings(request(gpu=0))[0].text
    commands("sinfo", SINFO)
    assert "there is no `sacctmgr`" in findings(request())[-1].text
    commands("sacctmgr", "You are not running a supported accounting_storage plugin\n", 1)
    assert "no accounting database (You are not running a supported" in findings(request())[-1].text
    commands("sacctmgr", "")
    assert "`sacctmgr` lists no account of" in findings(request())[-1].text
    commands("sinfo", "slurm_load_partitions: Unable to contact slurm controller\n", 1)
    assert "Unable to contact slurm controller" in problems(request())[0]


def test_gpus_of_a_machine_without_a_scheduler(commands, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    commands("sinfo", "no controller", 1)  # installed, but not used
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
