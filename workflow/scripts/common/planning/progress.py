"""State of every job, from the files that it and Snakemake write; read-only, so Snakemake may be running."""

import base64
import os
from collections.abc import Iterable
from pathlib import Path

from common.core import files
from common.core.errors import JobError
from common.planning.planned_jobs import Job

STATES = ["done", "running", "queued", "failed", "stopped", "waiting"]
# Snakemake creates a file here for every output of a started job, and deletes it when the job ends.
INCOMPLETE, LOCKS = Path(".snakemake/incomplete"), Path(".snakemake/locks")


def states(jobs: Iterable[Job]) -> list[tuple[Job, str]]:
    begun, locked = markers(), is_locked()
    return [(job, state(job, begun, locked)) for job in jobs]


def state(job: Job, begun: dict[str, float], locked: bool) -> str:
    """Return a job's state. queued: submitted, script not started. stopped: started, but left no result or error."""
    log, output = modified(job.log) if job.log else None, job.outputs[0]
    if output in begun and locked:
        return "running" if log and log >= begun[output] else "queued"
    if output not in begun and any(os.path.exists(path) for path in (output, *job.merged)):
        return "done"
    if job.error and os.path.exists(job.error):
        return "failed"
    return "stopped" if log or output in begun else "waiting"


def is_locked() -> bool:
    return LOCKS.is_dir() and any(LOCKS.iterdir())


def markers() -> dict[str, float]:
    """Map outputs to the time when Snakemake started their jobs."""
    found = {}
    for file in INCOMPLETE.rglob("*"):
        # The name is the path in base64; a long one is spread over folders named @… (snakemake.persistence.file).
        parts = [part.removeprefix("@") for part in file.relative_to(INCOMPLETE).parts]
        if (time := modified(file)) and file.is_file():
            found[base64.urlsafe_b64decode("".join(parts)).decode()] = time
    return found


def modified(path: str | Path) -> float | None:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def lock() -> str:
    """Describe whether Snakemake is running in this folder."""
    if not is_locked():
        return "Snakemake is not running here."
    here = str(Path.cwd())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"snakemake" in (process / "cmdline").read_bytes() and os.readlink(process / "cwd") == here:
                return "Snakemake is running."
        except OSError:  # the process has ended, or belongs to another user
            continue
    return "The folder is locked: Snakemake is running on another machine, or was killed (then: snakemake --unlock)."


def error(job: Job, lines: int = 5) -> str:
    """Return a failed job's error message and the tail of its log."""
    text = []
    if job.error and os.path.exists(job.error):
        try:
            text.append(str(files.read_json(job.error)["error"]))
        except (JobError, KeyError, TypeError, OSError):
            text.append(f"unreadable: {job.error}")
    if os.path.exists(job.log):
        text += Path(job.log).read_text(errors="replace").rstrip().splitlines()[-lines:]
    return "\n".join(text) or "no output"
