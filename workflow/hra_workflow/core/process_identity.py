"""Identities of processes, unique on this machine and elsewhere, and tests of whether a process still runs."""

import json
import os
import socket
from pathlib import Path

import psutil

# Environment variable of jobs and their processes: the identities of their starters, Snakemake first.
STARTED_BY = "HRA_STARTED_BY"
# Environment variable of jobs on any machine: a token of the Snakemake that the user has started.
SNAKEMAKE = "HRA_SNAKEMAKE"


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


def processes_inheriting(name: str, text: str) -> list[psutil.Process]:
    """List the other processes on this machine whose initial environment variable `name` contains `text`."""
    found = []
    for process in psutil.process_iter(["environ", "status"]):
        inherited = text in (process.info["environ"] or {}).get(name, "")
        if inherited and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(process)
    return found


def ancestors() -> list[dict]:
    """Return the identities of the processes that started this one."""
    return json.loads(os.environ.get(STARTED_BY, "[]"))


def started_by_this() -> dict[str, str]:
    """Return the environment variable for processes that must end with this one and its starters."""
    return {STARTED_BY: json.dumps([*ancestors(), this_process()])}


def is_orphaned() -> bool:
    """Return whether a process that started this one has ended."""
    return any(state(one) == "dead" for one in ancestors())
