"""Checks against the planned jobs, before the first one: sources, disk, partition, account, limits, GPUs."""

import getpass
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hra_workflow.core import gpus as local_gpus
from hra_workflow.cost import disk, downloads
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.data import reachability
from hra_workflow.preflight.findings import Finding

NEVER = 10**9  # minutes of a partition without a time limit


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
        else:
            print(f"  …     asking {check}", file=sys.stderr)
            yield reached(check, entry["source"], config)


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
    """Check the requests against Slurm, or against this machine's GPUs if the jobs do not go through Slurm.

    `most_jobs`: the most jobs that Snakemake keeps in the queue; None if it runs them on this machine.
    """
    if most_jobs is None or not shutil.which("sinfo"):
        reason = "no Slurm here (no `sinfo`)" if most_jobs else "the jobs run on this machine"
        yield Finding("scheduler", True, f"{reason}: partition, account and limits were not checked")
        gpus, here = max((one.gpu for one in wanted), default=0), len(local_gpus.visible())
        if gpus:
            remedy = "" if here >= gpus else ". Choose the profile of your scheduler (PROFILE=slurm), or set `gpu`"
            yield Finding("GPUs", here >= gpus, f"a job requests up to {gpus}, this machine has {here}{remedy}")
        return
    listed = run("sinfo", "--noheader", "--format=%P|%l|%G|%c|%m")
    if listed.returncode:
        yield Finding("scheduler", False, f"`sinfo` failed: {one_line(listed.stderr)}. Ask the administrators")
        return
    nodes = [line.split("|") for line in listed.stdout.splitlines() if line.count("|") == 4]
    for one in wanted:
        yield partition(one, nodes)
    yield from accounts(wanted, most_jobs)


def partition(wanted: Request, nodes: list[list[str]]) -> Finding:
    """Check that the partition exists, its time limit, and that some of its nodes have what a job requests."""
    known = [name.rstrip("*") for name, *_ in nodes]
    default = next((name.rstrip("*") for name, *_ in nodes if name.endswith("*")), None)
    name, check = wanted.partition or default, "partition of GPU jobs" if wanted.gpu else "partition of other jobs"
    if name not in known:
        variable = "HRA_SLURM_GPU_PARTITION or HRA_SLURM_PARTITION" if wanted.gpu else "HRA_SLURM_PARTITION"
        found = f"{name} does not exist" if name else "the cluster has no default partition"
        return Finding(check, False, f"{found}; set {variable} to one of {', '.join(dict.fromkeys(known))}")
    ours = [node for node in nodes if node[0].rstrip("*") == name]
    limit = max(minutes(node[1]) for node in ours)
    if wanted.runtime > limit:
        return Finding(
            check, False, f"{name} allows {limit} minutes, a job requests {wanted.runtime}: lower `runtime` in the "
            "config (training resumes in the retry), or choose another partition"
        )  # fmt: skip
    model = wanted.gpu_model or ""
    if wanted.gpu and not any(gpus(node[2], model) >= wanted.gpu for node in ours):
        found = ", ".join(sorted({node[2] for node in ours}))
        return Finding(
            check, False, f"no node of {name} has {wanted.gpu} GPU(s) {model}, but {found}: correct `gpu`, "
            "HRA_SLURM_GPU_MODEL or HRA_SLURM_GPU_PARTITION"
        )  # fmt: skip
    large = [node for node in ours if number(node[3]) >= wanted.threads and number(node[4]) >= wanted.mem_mb]
    if not large:
        found = ", ".join(sorted({f"{node[3]} cores and {node[4]} MB" for node in ours}))
        return Finding(
            check, False, f"no node of {name} has {wanted.threads} cores and {wanted.mem_mb} MB, but {found}: correct "
            "`threads` and `mem_mb` of the task"
        )  # fmt: skip
    time = "no time limit" if limit == NEVER else f"{limit} minutes at most, up to {wanted.runtime} requested"
    return Finding(
        check, True, f"{name}: {time}; up to {wanted.gpu} GPU(s), {wanted.threads} cores, {wanted.mem_mb} MB"
    )


def accounts(wanted: list[Request], most_jobs: int | None) -> Iterator[Finding]:
    """Check account and limits of jobs in the accounting database, if the cluster has one."""
    user = getpass.getuser()
    format_ = "format=account,maxjobs,maxsubmit,maxwall"
    try:
        listed = run("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}", format_)
    except FileNotFoundError:
        yield Finding("account", True, "not checked, since there is no `sacctmgr`")
        return
    if listed.returncode:
        reason = one_line(listed.stderr) or f"status {listed.returncode}"
        yield Finding("account", True, f"not checked, since the cluster has no accounting database ({reason})")
        return
    if not listed.stdout.strip():
        yield Finding("account", True, f"not checked, since `sacctmgr` lists no account of {user}")
        return
    rows = [line.split("|") for line in listed.stdout.splitlines() if line.count("|") == 3]
    names = list(dict.fromkeys(row[0] for row in rows))
    for account in dict.fromkeys(one.account for one in wanted):
        if account and account not in names:
            text = f"{user} has no account {account}; set HRA_SLURM_ACCOUNT to one of {', '.join(names)}"
            yield Finding("account", False, text)
            return
        yield Finding("account", True, account or f"your default, one of {', '.join(names)}")
        ours = [row for row in rows if account in (None, row[0])]
        submit = [int(row[2]) for row in ours if row[2].isdigit()]
        if submit and most_jobs and most_jobs > max(submit):
            text = f"{max(submit)} jobs may be submitted at a time: set HRA_SLURM_JOBS={max(submit)}"
            yield Finding("limits", False, text)
        wall = [minutes(row[3]) for row in ours if row[3]]
        longest = max(one.runtime for one in wanted if one.account == account)
        if wall and longest > max(wall):
            text = f"a job may run {max(wall)} minutes, {longest} are requested: lower `runtime` in the config"
            yield Finding("limits", False, text)


def gpus(gres: str, model: str) -> int:
    """Return the number of GPUs in sinfo's `gpu:a100:4(S:0-1),…`, of one model if given."""
    found = re.findall(r"gpu(?::([A-Za-z][\w.-]*))?:(\d+)", gres)
    return sum(int(count) for name, count in found if model in ("", name))


def minutes(limit: str) -> int:
    """Convert Slurm's [days-]hours:minutes:seconds."""
    if not re.fullmatch(r"[\d:-]+", limit):
        return NEVER  # infinite, UNLIMITED
    days, _, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    hours, mins = ([0, *parts] if len(parts) == 2 else parts)[:2]
    return int(days or 0) * 1440 + hours * 60 + mins


def number(text: str) -> int:
    return int(re.match(r"\d*", text)[0] or 0)


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True)


def one_line(text: str) -> str:
    return " ".join(text.split())
