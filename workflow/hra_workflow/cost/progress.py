"""States of the jobs, read from the history of the Snakemake runs and from the jobs' files."""

import os
from collections.abc import Collection
from pathlib import Path

from hra_workflow.core.logs import read_error, tail
from hra_workflow.cost import planned_jobs
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.cost.run_history import FAILED, FINISHED, History

STATES = ["done", "running", "queued", "failed", "stopped", "waiting"]


def states(path: Path, history: History) -> list[tuple[Job, str]]:
    """Return the jobs that were planned in the file `path`, with their states."""
    planned, running = modified(path), history.running()
    events = {name: event for name, event in history.jobs.items() if event["time"] >= planned}
    return [(job, state(job, events.get(job.name), running)) for job in planned_jobs.load(path)]


def state(job: Job, event: dict | None, running: Collection[str]) -> str:
    """Return a job's state. `event`: its last one since it was planned. `running`: the runs that have not ended.

    queued: submitted, but its script has not started. stopped: started, but its Snakemake ended before the job did.
    """
    made = all(map(os.path.exists, job.outputs)) or any(map(os.path.exists, job.merged))
    if event is None or event["event"] == FINISHED:
        return "done" if made and (event or not job.needed) else "waiting"
    if event["event"] == FAILED:
        return "failed"
    # A job's process deletes its old outputs before it writes its log.
    written = modified(job.log) if job.log else event["time"]
    begun = written is not None and written >= event["time"]
    if begun and made:
        return "done"
    if event["run"] in running:
        return "running" if begun else "queued"
    return "stopped"


def modified(path: str | Path) -> float | None:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def of_runs(history: History) -> str:
    """Describe whether Snakemake is running."""
    running = history.running()
    if "running" in running.values():
        return "Snakemake is running."
    if running:
        host = history.unfinished[history.last]["process"]["host"]
        return f"Snakemake is running on {host}, or was killed there (then: snakemake --unlock)."
    if history.last in history.unfinished:
        return (
            "Snakemake was killed; jobs that it submitted to a cluster may still run. To continue: "
            "`snakemake --unlock` and the same command."
        )
    return "Snakemake is not running."


def error(job: Job, lines: int = 5) -> str:
    """Return a failed job's error message, or the tail of its log."""
    if job.error and os.path.exists(job.error):
        return read_error(Path(job.error))
    if os.path.exists(job.log):
        return tail(Path(job.log), lines)
    return "no output"
