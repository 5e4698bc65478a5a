"""The profile of a machine with GPUs and no scheduler, with an nvidia-smi that lists two."""

import os
import re
from collections import Counter

import pytest

GPUS = """#!/bin/sh
echo "GPU 0: NVIDIA A100 (UUID: GPU-8a56a4bc-e184-a047-2620-be19fdf913d5)"
echo "GPU 1: NVIDIA A100 (UUID: GPU-31a1baa7-9d39-dfb6-6b2f-9bd3bb59d0ae)"
"""
STAND_IN = """
import os, sys, time
from pathlib import Path

sys.path.insert(0, {scripts!r})
from hra_workflow.core import gpus
from hra_workflow.core.job import from_snakemake

job = from_snakemake(snakemake)
with gpus.reserved(gpus.to_reserve(job), gpus.runs_per_gpu(job)):
    if gpus.to_reserve(job):
        with open("gpus.log", "a") as log:
            print(os.environ["CUDA_VISIBLE_DEVICES"], "begins", file=log, flush=True)
            deadline = time.monotonic() + 60
            while Path("gpus.log").read_text().count("begins") < {together}:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            print(os.environ["CUDA_VISIBLE_DEVICES"], "ends", file=log, flush=True)
    for path in snakemake.output:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch() if Path(path).suffix else Path(path).mkdir(exist_ok=True)
"""


@pytest.mark.slow
def test_every_gpu_has_as_many_jobs_at_a_time_as_share_it(fresh, tmp_path, monkeypatch):
    """The first jobs end only once as many run as there is room for: two on each of two GPUs."""
    project = fresh.copy(tmp_path / "project")
    scripts = project.folder / "workflow/scripts"
    project.stand_in(STAND_IN.format(scripts=str(scripts), together=4))
    smi = tmp_path / "bin/nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(GPUS)
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{smi.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HRA_GPU_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    project.change("small.yaml", "gpu: 0, threads", "gpu: 1, runs_per_gpu: 2, threads")
    target = [f"results/glue/cola/{run}/r8/seed{seed}/train.json" for run in ("lora", "hra") for seed in (0, 1)]
    command = ("--profile", "profiles/gpu-server", "--cores", "4", "--configfile", "small.yaml")
    project.snakemake(*command, "--", *target)

    running, most = Counter(), Counter()
    for line in (project.folder / "gpus.log").read_text().splitlines():
        gpu, what = line.split()
        running[gpu] += 1 if what == "begins" else -1
        most |= running
    assert most == {"0": 2, "1": 2}


@pytest.mark.slow
def test_every_job_on_a_gpu_counts_to_the_limit_and_too_many_gpus_are_said(fresh):
    limit = ("--resources", "gpu_percent=200", "--cores", "1")
    output = fresh.snakemake("-n", *limit, "--config", "preflight=True", "--", "preflight")
    on_gpus = re.findall(r"^rule (\w+):(?:\n .*)*?\n    resources: (.*\bgpu=[1-9].*)", output, re.MULTILINE)
    assert {name.partition("_")[0] for name, _ in on_gpus} >= {"train", "generate", "evaluate"}
    assert not [name for name, resources in on_gpus if "gpu_percent=" not in resources]
    assert "warning:  A job requests 8 GPUs, this machine has 2: lower `gpu` under the task's `resources`" in output
