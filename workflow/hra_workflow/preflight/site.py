"""Checks of the machine and its scheduler against the planned jobs: disk, what Slurm says to them, GPUs."""

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hra_workflow.core import gpus as local_gpus


@dataclass(frozen=True)
class Finding:
    """One line of the report: `text` is what was found, or what to do."""

    check: str
    ok: bool
    text: str

    def __str__(self) -> str:
        return f"  {'ok  ' if self.ok else 'TODO'}  {self.check}: {self.text}"


@dataclass(frozen=True)
class Request:
    """What one kind of job requests: minutes, GPUs, MB of memory and cores; the largest of each."""

    partition: str | None
    account: str | None
    gpu_model: str | None
    gpu: int
    runtime: int
    mem_mb: int
    threads: int

    def options(self) -> list[str]:
        """Return sbatch's options for such a job, as the profile's executor requests it."""
        count = f"{self.gpu_model}:{self.gpu}" if self.gpu_model else str(self.gpu)
        gpus = f"--gres=gpu:{count}" if os.environ.get("HRA_SLURM_GRES") == "1" else f"--gpus={count}"
        stated = {"partition": self.partition, "account": self.account, "qos": os.environ.get("HRA_SLURM_QOS")}
        return [
            *(f"--{name}={value}" for name, value in stated.items() if value),
            *[gpus] * (self.gpu > 0),
            *(f"--time={self.runtime}", f"--mem={self.mem_mb}M", f"--cpus-per-task={self.threads}"),
        ]


def requests(jobs: Iterable) -> list[Request]:
    """Summarise Snakemake's jobs by partition, account and GPU model, of which profiles/slurm states the defaults."""
    groups: dict[tuple, list] = {}
    for one in jobs:
        gpu = int(one.resources.get("gpu", 0)) > 0
        partition = (gpu and os.environ.get("HRA_SLURM_GPU_PARTITION")) or os.environ.get("HRA_SLURM_PARTITION")
        defaults = (partition, None, os.environ.get("HRA_SLURM_GPU_MODEL") if gpu else None)
        names = ("slurm_partition", "slurm_account", "gpu_model")
        named = (one.resources.get(name) or default for name, default in zip(names, defaults, strict=True))
        groups.setdefault((*named, gpu), []).append(one)
    return [
        Request(
            *key[:3],
            *(max(int(one.resources.get(name, 0) or 0) for one in some) for name in ("gpu", "runtime")),
            # Jobs that share a GPU are one job of the scheduler.
            max(int(one.resources.get("mem_mb", 0) or 0) * one.resources.get("jobs_per_gpu", 1) for one in some),
            max(one.threads * one.resources.get("jobs_per_gpu", 1) for one in some),
        )
        for key, some in groups.items()
    ]


# Disk


def disk(needed: dict[str, float]) -> Iterator[Finding]:
    """Compare the free space of each file system with the plan: `needed`, folder -> bytes."""
    systems: dict[int, list[str]] = {}
    for folder in needed:
        systems.setdefault(os.stat(existing(folder)).st_dev, []).append(folder)
    for folders in systems.values():
        place = existing(folders[0])
        wanted, found = sum(needed[folder] for folder in folders), os.statvfs(place)
        free = found.f_bavail * found.f_frsize
        names = ", ".join(folders)
        text = f"{wanted / 1e9:.3g} GB planned, {free / 1e9:.3g} GB free for {names} (a quota may allow less)"
        remedy = "" if free > wanted else ". Free some, or point `pathvars` to another disk"
        yield Finding("disk", free > wanted, text + remedy)


def existing(folder: str) -> Path:
    """Return the folder, or the one above it in which it will be created."""
    path = Path(folder).expanduser().absolute()
    return next(one for one in (path, *path.parents) if one.exists())


# Scheduler


def scheduler(wanted: list[Request], most_jobs: int | None) -> Iterator[Finding]:
    """Ask Slurm about the requests, or compare them with this machine's GPUs if the jobs do not go through Slurm.

    `most_jobs`: the most jobs that Snakemake keeps in the queue; None if it runs them on this machine.
    """
    if most_jobs is None or not shutil.which("sbatch"):
        reason = "no Slurm here (no `sbatch`)" if most_jobs else "the jobs run on this machine"
        yield Finding("scheduler", True, f"{reason}: partition, account and limits were not checked")
        gpus, here = max((one.gpu for one in wanted), default=0), len(local_gpus.visible())
        if gpus:
            remedy = "" if here >= gpus else ". Choose the profile of your scheduler (PROFILE=slurm), or set `gpu`"
            yield Finding("GPUs", here >= gpus, f"a job requests up to {gpus}, this machine has {here}{remedy}")
        return
    for one in wanted:
        options = one.options()
        answer = run("sbatch", "--test-only", *options, "--wrap=true")
        text = f"{one_line(answer.stderr).removeprefix('sbatch: ')} ({' '.join(options)})"
        remedy = ". Correct HRA_SLURM_… (docs/cluster.md), or `resources` of the task" if answer.returncode else ""
        check = "Slurm, GPU jobs" if one.gpu else "Slurm, other jobs"
        yield Finding(check, not answer.returncode, text + remedy)
    if (most := most_submitted()) and most_jobs > most:
        yield Finding("limits", False, f"{most} jobs may be submitted at a time: set HRA_SLURM_JOBS={most}")


def most_submitted() -> int | None:
    """Return the number of jobs that this user may have in the queue, which `sbatch --test-only` does not check."""
    command = ("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}")
    listed = run(*command, "format=maxsubmit").stdout if shutil.which("sacctmgr") else ""
    return max(map(int, re.findall(r"^\d+$", listed, re.MULTILINE)), default=None)


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True)


def one_line(text: str) -> str:
    return " ".join(text.split())
