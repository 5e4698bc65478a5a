"""Checks against the planned jobs, before the first one: sources, disk, what Slurm says to the jobs, GPUs."""

import getpass
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hra_workflow import tasks
from hra_workflow.core import gpus as local_gpus
from hra_workflow.core.errors import JobError
from hra_workflow.cost import disk, downloads
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.data import own_files, reachability
from hra_workflow.preflight.findings import Finding
from hra_workflow.tasks import own_data


@dataclass(frozen=True)
class Request:
    """The largest request of the jobs with the same partition, account and GPU model (snake/planned.py)."""

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


# Downloads


def sources(config: dict, planned: Iterable[Job]) -> Iterator[Finding]:
    """Ask the source of every missing download for its first bytes."""
    for download in downloads.of(planned):
        entry, name = downloads.entry(config, download)
        check = f"source {name}"
        if not download.needed:
            yield Finding(check, True, "already downloaded")
        elif "source" not in entry:
            yield Finding(check, True, "not checked: lm-evaluation-harness chooses its addresses itself")
        elif problem := unusable(config, download):
            yield Finding(check, False, problem)
        else:
            print(f"  …     asking {check}", file=sys.stderr)
            yield reached(check, entry["source"], config)


def unusable(config: dict, download: Job) -> str | None:
    """Return what is wrong with the user's files that a job is going to read."""
    source, dataset, root = downloads.entry(config, download)[0]["source"], None, config["local_root"]
    try:
        if {"task", "dataset"} <= download.wildcards.keys():
            task, name = tasks.load(config)[download.wildcards["task"]], download.wildcards["dataset"]
            own_data.check(task, name)
            dataset = task.data.download(name)
        own_files.check_links(own_files.paths(source, root, dataset), source, root, dataset, config["follow_links"])
    except JobError as problem:
        return str(problem)
    return None


def reached(check: str, source: dict, config: dict) -> Finding:
    answer = reachability.ask(source, config["mirror"], config["local_root"])
    if answer.problem:
        return Finding(check, False, answer.problem)
    if source["kind"] == "archive":
        return Finding(check, True, "unpacked from an archive, which is a source of its own")
    if source["kind"] == "init":
        return Finding(check, True, "generated here")
    size = f", {answer.size / 1e9:.3g} GB" if answer.size else ""
    return Finding(check, True, f"{answer.files} file{'s' * (answer.files != 1)} reachable{size}")


# Disk


def needed(config: dict, planned: Iterable[Job]) -> dict[str, float]:
    """Return the estimated bytes that the missing jobs will add to each folder."""
    estimate = disk.estimate(config, planned, missing=True)
    wanted = {name: sum(part.values()) for name, part in estimate.folders.items()} | {"scratch": estimate.training}
    return {folder: wanted.get(name, 0.0) for name, folder in config["pathvars"].items()}


def free_space(needed: dict[str, float]) -> Iterator[Finding]:
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
