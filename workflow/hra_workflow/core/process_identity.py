"""Identities of processes, unique on this machine and elsewhere, and whether such a process still runs."""

import json
import os
import socket
from pathlib import Path

from hra_workflow.core.errors import JobError

# Environment variable of jobs: the identity of the Snakemake that started them.
STARTED_BY = "HRA_STARTED_BY"


def this_process() -> dict:
    return {
        "host": socket.gethostname(),
        "machine": machine.read_text().strip() if (machine := Path("/etc/machine-id")).exists() else "",
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid_namespace": os.readlink("/proc/self/ns/pid"),
        "pid": os.getpid(),
        "start": start_of(os.getpid()),
    }


def start_of(pid: int) -> str | None:
    """Return the start time of a process on this machine, in ticks since boot; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def state(process: dict) -> str:
    """Return `running`, `dead`, or why the process cannot be observed. Raise KeyError unless it is an identity."""
    here = this_process()
    of = {key: process[key] for key in here}
    if (of["host"], of["machine"]) != (here["host"], here["machine"]):
        return f"it cannot be observed from {here['host']}"
    if of["boot"] != here["boot"]:
        return "dead"  # the machine has been restarted since
    if of["pid_namespace"] != here["pid_namespace"]:
        return "it is in another container"
    return "running" if start_of(of["pid"]) == of["start"] else "dead"


def check_starter() -> None:
    """Raise JobError if the Snakemake that started this job has ended: the next would take a late result for its own.

    Jobs compare what their inputs were made from, but people read tables and figures. A job that trains lacks the
    variable: the next Snakemake's job waits for its lock (lock.py).
    """
    if (starter := os.environ.get(STARTED_BY)) and state(json.loads(starter)) == "dead":
        raise JobError("The Snakemake that started this job has ended: it writes nothing more.")
