"""State of every job, from the files that it and Snakemake write; read-only, so Snakemake may be running.

These files outlive a Snakemake that was killed: whether it is running is asked of the processes and of Slurm.
"""

import base64
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.cost.planned_jobs import Job

STATES = ["done", "running", "queued", "failed", "stopped", "waiting"]
# Snakemake creates a file here for every output of a started job, and deletes it when the job ends.
INCOMPLETE, LOCKS, LOGS = Path(".snakemake/incomplete"), Path(".snakemake/locks"), Path(".snakemake/log")
HOUR = 3600


def states(jobs: Iterable[Job]) -> list[tuple[Job, str]]:
    begun, running = markers(), is_running()
    return [(job, state(job, begun, running)) for job in jobs]


def state(job: Job, begun: dict[str, float], running: bool) -> str:
    """Return a job's state. queued: submitted, script not started. stopped: started, but left no result or error."""
    log, output = modified(job.log) if job.log else None, job.outputs[0]
    if output in begun and running:
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


def process() -> int | None:
    """Return the Snakemake of this folder on this machine, not the ones that it starts for single jobs."""
    here = str(Path.cwd())
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if os.readlink(entry / "cwd") == here and is_main(words):
                return int(entry.name)
        except OSError:  # the process has ended, or belongs to another user
            continue
    return None


def is_main(words: list[str]) -> bool:
    """Return whether a command line is that of Snakemake itself: not a script of it, nor its process for one job."""
    program = any(Path(word).name == "snakemake" for word in words[:2]) or words[1:3] == ["-m", "snakemake"]
    return program and "--mode" not in words


def host() -> str | None:
    """Return the machine on which the last Snakemake of this folder was started; None: unknown."""
    logs = sorted(LOGS.glob("*.snakemake.log"), key=lambda path: modified(path) or 0.0)
    found = re.search(r"^ *Host: (\S+)$", logs[-1].read_text(errors="replace"), re.MULTILINE) if logs else None
    return found[1] if found else None


def in_slurm() -> int:
    """Count the jobs of this folder that Slurm has, each job of a pack as one; 0 without Slurm."""
    try:
        command = ["squeue", "--me", "--noheader", "--format=%Z\t%k"]
        queue = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    comments = [line.split("\t")[1] for line in queue.splitlines() if line.startswith(f"{Path.cwd()}\t")]
    # As the executor plugin slurm-packs names a Slurm job of several.
    packs = [re.match(r"rule_pack_wildcards_(\d+)_", comment) for comment in comments]
    return sum(int(pack[1]) if pack else 1 for pack in packs)


def is_running() -> bool:
    """Return whether jobs of this folder may be running; on another machine, only the lock says so."""
    return is_locked() and (process() is not None or host() not in (None, platform.node()) or in_slurm() > 0)


def lock() -> str:
    """Describe whether Snakemake is running in this folder."""
    if not is_locked():
        return "Snakemake is not running here."
    if process() is not None:
        return "Snakemake is running."
    if (other := host()) not in (None, platform.node()):
        return f"The folder is locked: Snakemake is running on {other}, or was killed there (then: snakemake --unlock)."
    jobs = in_slurm()
    left = f"; {jobs} of its jobs are still in Slurm's queue" if jobs else ""
    return f"Snakemake is not running: it was killed{left}. To continue: snakemake --unlock, then the same command."


def pace(states: list[tuple[Job, str]], now: float) -> str:
    """Describe the jobs done in the last hour, when the others will be at this pace, and the job that runs longest."""
    ends = [time for job, state in states if state == "done" and (time := modified(job.outputs[0]))]
    recent, left = [end for end in ends if now - end < HOUR], sum(state != "done" for _, state in states)
    parts = [f"{len(recent)} job{'s' * (len(recent) != 1)} done in the last hour"]
    if recent and left:
        hours = left * (now - min(recent)) / len(recent) / HOUR
        parts.append(f"at this pace the other {left} take {hours:.1f} h")
    begun = markers()
    if running := [(begun[job.outputs[0]], job.name) for job, state in states if state == "running"]:
        start, name = min(running)
        parts.append(f"running longest: {name}, {(now - start) / HOUR:.1f} h")
    return "; ".join(parts)


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
