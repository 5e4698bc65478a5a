"""States of the jobs of the last run, from the files that they write and from the process of their Snakemake."""

import atexit
import os
from pathlib import Path

from hra_workflow.core import files, logs, process_identity
from hra_workflow.cost import planned_jobs
from hra_workflow.cost.planned_jobs import Job

FAILED = "failed: "  # begins the last line of the log of a failed job (core/logs.py)
PROCESS = "process"  # file next to those of the tables, while Snakemake runs


def begin(results: str) -> None:
    """Record this Snakemake until it ends; a killed one leaves its record."""
    path = planned_jobs.folder(results) / PROCESS
    files.write_json(path, process_identity.this_process())
    atexit.register(path.unlink, missing_ok=True)


def of_snakemake(results: str) -> tuple[bool, str]:
    """Return whether Snakemake may be running with this folder of results, and a sentence about it."""
    if not (process := files.read_if_valid(planned_jobs.folder(results) / PROCESS)):
        return False, "Snakemake is not running."
    state = process_identity.state(process)
    if state == "running":
        return True, "Snakemake is running."
    if state != "dead":
        return True, f"Snakemake is running on {process['host']}, or was killed there (then: snakemake --unlock)."
    return False, (
        "Snakemake was killed; jobs that it submitted to a cluster may still run. To continue: "
        "`snakemake --unlock` and the same command."
    )


def states(path: Path, running: bool) -> list[tuple[Job, str]]:
    """Return the jobs that were planned in the file `path`, with their states. running: whether Snakemake is."""
    planned = os.stat(path).st_mtime
    return [(job, state(job, planned, running)) for job in planned_jobs.load(path)]


def state(job: Job, planned: float, running: bool) -> str:
    """Return a job's state. planned: when Snakemake planned it.

    stopped: it has started, and neither finished nor reported an error, and Snakemake has ended.
    """

    def written(file: str) -> bool:
        return os.path.exists(file) and os.stat(file).st_mtime >= planned

    if all(map(os.path.exists, job.outputs)) or any(map(os.path.exists, job.merged)):
        return "done" if not job.needed or any(map(written, (job.log, *job.outputs))) else "waiting"
    if not written(job.log):
        return "waiting"
    if has_failed(job.log):
        return "failed"
    return "running" if running else "stopped"


def has_failed(log: str) -> bool:
    """Return whether the last attempt of a job has ended with an error, other than an interruption."""
    return os.path.isfile(log) and logs.tail(Path(log), 1).startswith(FAILED)
