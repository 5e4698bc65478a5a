"""Checks of the planned jobs, before the first one starts: sources, requests to Slurm, GPUs."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points

from hra_workflow import tasks
from hra_workflow.core import gpus as local_gpus
from hra_workflow.core.errors import JobError
from hra_workflow.cost import downloads
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.data.sources import Source, of
from hra_workflow.preflight.findings import Finding
from hra_workflow.tasks import user_data

REQUESTS = "hra_workflow.scheduler_requests"  # a group of entry points

# Downloads


def sources(config: dict, planned: Iterable[Job]) -> Iterator[Finding]:
    """Request the first bytes of every missing download."""
    for download in downloads.download_jobs(planned):
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
            yield reached(check, of(entry["source"], config["mirror"], config["local_root"]))


def unusable(config: dict, download: Job) -> str | None:
    """Return the problem of the user's files that a job will read, or None."""
    source, dataset = of(downloads.entry(config, download)[0]["source"], local_root=config["local_root"]), None
    try:
        if {"task", "dataset"} <= download.wildcards.keys():
            task, name = tasks.load(config)[download.wildcards["task"]], download.wildcards["dataset"]
            user_data.check(task, name)
            dataset = task.download(name)
        source.user_files(dataset)
    except JobError as problem:
        return str(problem)
    return None


def reached(check: str, source: Source) -> Finding:
    answer = source.ask()
    if answer.problem or source.note:
        return Finding(check, not answer.problem, answer.problem or source.note)
    size = f", {answer.size / 1e9:.3g} GB" if answer.size else ""
    return Finding(check, True, f"{answer.files} file{'s' * (answer.files != 1)} reachable{size}")


# Scheduler


def scheduler(jobs: list, runs_here: bool) -> Iterator[Finding]:
    """Test every request of the jobs with Slurm, as the executor in use would send it, if it registers its requests.

    An entry point of REQUESTS is a function of Snakemake's jobs. It returns the rules, the options of sbatch
    and the executor's reason against submitting them, "" if there is none, of each different request; None if its
    executor is not in use.
    """
    for entry in entry_points(group=REQUESTS):
        if (found := entry.load()(jobs)) is not None:
            if not shutil.which("sbatch"):
                yield Finding("Slurm", False, "expected the command `sbatch`, found none. Run this on a login node")
                return
            yield from (request(*one) for one in found)
            return
    if not runs_here:
        print("  …     scheduler: not checked, since the executor does not report its requests", file=sys.stderr)
    elif most := max((int(job.resources.get("gpu") or 0) for job in jobs), default=0):
        yield gpus(most)


def gpus(most: int) -> Finding:
    """Compare the `most` GPUs of a job with this machine's."""
    here = len(local_gpus.visible())
    remedy = "" if here >= most else ". Choose the profile of your scheduler (--profile slurm), or set `gpu`"
    return Finding("GPUs", here >= most, f"a job requests up to {most}, this machine has {here}{remedy}")


def request(rules: Iterable[str], options: str, refusal: str = "") -> Finding:
    """Test a request of some rules with Slurm. options: sbatch's. refusal: why the executor does not submit it."""
    answer = None if refusal else run("sbatch", "--test-only", *shlex.split(options), "--wrap=true")
    ok = answer is not None and not answer.returncode
    text = refusal or f"{' '.join(answer.stderr.split()).removeprefix('sbatch: ')} ({options})"
    remedy = "" if ok else ". Correct HRA_SLURM_… (docs/cluster.md), or `resources` of the task"
    return Finding(f"Slurm, {', '.join(sorted(rules))}", ok, text + remedy)


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True)
