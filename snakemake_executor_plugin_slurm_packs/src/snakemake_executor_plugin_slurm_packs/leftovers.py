"""Jobs that a dead Snakemake left in Slurm's queue.

.snakemake/slurm_packs/NAME/    one folder per Snakemake; NAME is the name of its Slurm jobs
    process.json                its process, from which a later Snakemake finds whether it is still running
    jobs.jsonl                  the Slurm jobs that it has submitted, with their outputs
    {pack}/                     its packs (packs.py)
"""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

FOLDER = Path(".snakemake/slurm_packs")
# A cancelled job may save its work; Slurm kills processes that have not ended after KillWait (30 s by default).
PATIENCE_SECONDS = 120


class Leftovers:
    """The record of this Snakemake's jobs, and of those that others have left. `name`: the name of its Slurm jobs."""

    def __init__(self, name: str):
        self.folder, self.writing = FOLDER / name, threading.Lock()
        self.folder.mkdir(parents=True)
        (self.folder / "process.json").write_text(json.dumps(this_process()))

    def submitted(self, number: str, outputs: Iterable) -> None:
        entry = {"job": str(number), "outputs": list(map(str, outputs))}
        with self.writing, (self.folder / "jobs.jsonl").open("a") as stream:
            stream.write(f"{json.dumps(entry)}\n")

    def cancel(self, outputs: set[str], logger) -> None:
        """Cancel queued jobs for these outputs whose Snakemake is dead, and remove records without queued jobs.

        Raises WorkflowError if that Snakemake is still running, or its state cannot be determined.
        """
        queue, found = queued(), []
        for folder in sorted(FOLDER.iterdir()):
            if folder == self.folder:
                continue
            known, status = outputs_of(folder), state(folder)
            left = [job for job, name in queue.items() if name == folder.name]
            if status == "dead":
                # The outputs of a job are unknown if Snakemake was killed during its submission.
                found += [job for job in left if job not in known or known[job] & outputs]
                if not left:
                    shutil.rmtree(folder, ignore_errors=True)
            elif ours := [job for job in left if known.get(job, set()) & outputs]:
                raise WorkflowError(
                    f"Job(s) {', '.join(sorted(ours))} in the queue produce the same outputs for another Snakemake, "
                    f"which {status}. Wait for it or stop it with Ctrl-C; if it is dead, run "
                    f"`scancel --name={folder.name}`. Then run this command again."
                )
        if found:
            logger.warning(
                f"Cancelling {len(found)} job(s) that an earlier Snakemake, now dead, left in the queue: "
                f"{', '.join(found)}."
            )
            cancel(set(found))


def outputs_of(folder: Path) -> dict[str, set[str]]:
    """Return the outputs of each Slurm job of a Snakemake; a pack or an array has those of all its jobs."""
    path, jobs = folder / "jobs.jsonl", {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # Snakemake was killed while it wrote this line
            continue
        jobs.setdefault(entry["job"].partition("_")[0], set()).update(entry["outputs"])
    return jobs


def queued() -> dict[str, str]:
    """Return number -> name of the user's pending and running jobs; an array has one number."""
    return dict(line.split("\t", 1) for line in slurm("squeue", "--me", "--noheader", "--format=%F\t%j").splitlines())


def cancel(jobs: set[str]) -> None:
    """Cancel jobs and wait until all of their processes have ended."""
    slurm("scancel", *sorted(jobs))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := jobs & queued().keys():
        if time.monotonic() > deadline:
            raise WorkflowError(
                f"Slurm still lists {', '.join(sorted(left))} after scancel. Wait for them, or ask the administrators."
            )
        time.sleep(1)


def slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WorkflowError(f"`{' '.join(command)}` failed: {done.stderr.strip()}. Is Slurm up? Run the command again.")
    return done.stdout


# As in the workflow's core/process_identity.py; this package can be used without the workflow.


def this_process() -> dict:
    """Return an identity of this process that is unique on this machine and elsewhere."""
    machine = Path("/etc/machine-id")
    return {
        "host": socket.gethostname(),
        "machine": machine.read_text().strip() if machine.exists() else "",
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


def state(folder: Path) -> str:
    """Describe whether the Snakemake of this folder is dead, is running, or cannot be observed from here."""
    try:
        record = json.loads((folder / "process.json").read_text())
        of = {key: record[key] for key in this_process()}
    except (OSError, ValueError, KeyError):
        return f"has left no record in {folder}"
    here, pid = this_process(), f"process {of['pid']} on {of['host']}"
    if (of["host"], of["machine"]) != (here["host"], here["machine"]):
        return f"was {pid}: it cannot be observed from {here['host']}"
    if of["boot"] != here["boot"]:
        return "dead"  # the machine has been restarted since
    if of["pid_namespace"] != here["pid_namespace"]:
        return f"was {pid}, in another container"
    return f"is {pid}" if start_of(of["pid"]) == of["start"] else "dead"
