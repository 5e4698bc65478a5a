"""What Slurm says to the planned jobs, and GPUs, with stand-ins for Slurm's commands."""

from types import SimpleNamespace

import pytest

from hra_workflow.preflight import site

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


def test_slurm_s_answer_is_shown_with_the_request(commands):
    commands("sbatch", STARTS)
    found = site.request({"b", "a"}, "-p gpu --gpus=1")
    assert str(found).startswith("  ok    Slurm, a, b: Job 1 to start at ")
    assert found.text.endswith("in partition gpu (-p gpu --gpus=1)")
    commands("sbatch", "allocation failure: Invalid partition name specified", 1)
    found = site.request({"a"}, "-p gpus")
    assert not found.ok and found.text.startswith("allocation failure: Invalid partition name specified (-p gpus)")
    assert "HRA_SLURM_" in found.text and "`resources` of the task" in found.text


def test_gpus_of_a_machine_without_a_scheduler(commands, monkeypatch, capsys):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(site, "entry_points", lambda group: [])
    commands("sbatch", "no controller", 1)  # installed, but not used
    jobs = [SimpleNamespace(resources={"gpu": gpu}) for gpu in (1, 2)]
    (gpus,) = site.scheduler(jobs, runs_here=True)
    assert "a job requests up to 2, this machine has 0. Choose the profile" in gpus.text and not gpus.ok
    commands("nvidia-smi", "GPU 0: x\nGPU 1: x\n")
    assert all(one.ok for one in site.scheduler(jobs, runs_here=True))
    assert not list(site.scheduler([SimpleNamespace(resources={})], runs_here=True))
    assert not list(site.scheduler(jobs, runs_here=False))
    assert "scheduler: not checked, since the executor does not report" in capsys.readouterr().err


def test_an_executor_without_its_scheduler_is_to_be_fixed(commands, monkeypatch):
    entry = SimpleNamespace(load=lambda: lambda jobs: [])
    monkeypatch.setattr(site, "entry_points", lambda group: [entry])
    (first,) = site.scheduler(["a job"], runs_here=False)
    assert str(first) == "  TODO  Slurm: expected the command `sbatch`, found none. Run this on a login node"
