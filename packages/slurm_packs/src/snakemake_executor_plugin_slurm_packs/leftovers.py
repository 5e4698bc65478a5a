"""Jobs that a dead Snakemake left in Slurm's queue: the next one takes them over, or cancels them.

.snakemake/slurm_packs/NAME/    one folder per Snakemake; NAME is the name of its Slurm jobs
    process.json                its process, from which a later Snakemake finds whether it is still running
    jobs.jsonl                  the Slurm jobs that it has submitted: a line each, with their jobs
    {pack}/                     its packs (packs.py)

A Slurm job is taken over if each of its jobs would be submitted now as it was then (`digest`). The base class finds the
state of jobs by their name, so the new Snakemake continues under the name of the dead one, in its folder.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from snakemake_executor_plugin_slurm_packs.packs import REPORTED, exit_status

FOLDER = Path(".snakemake/slurm_packs")
# A cancelled job may save its work; Slurm kills processes that have not ended after KillWait (30 s by default).
PATIENCE_SECONDS = 120
# Options of a job's command whose values are files of this process.
OF_PROCESS = ("runtime-source-cache-path ", "wait-for-files ", "wait-for-files-file ")


class Leftovers:
    """The record of this Snakemake's jobs, and of those that others have left. `name`: the name of its Slurm jobs."""

    def __init__(self, name: str):
        self.folder, self.writing = FOLDER / name, threading.Lock()
        self.folder.mkdir(parents=True)
        record(self.folder)

    def submitted(self, infos: list[SubmittedJobInfo], digests: list[str]) -> None:
        """Record a Slurm job with its jobs, in one line: it is never known in part. A job without a digest is lost."""
        jobs = [
            {
                "outputs": list(map(str, info.job.output)),
                "digest": digest,
                "aux": {name: str(path) for name, path in (info.aux or {}).items()},
            }
            for info, digest in zip(infos, digests, strict=True)
        ]
        entry = {"job": str(infos[0].external_jobid), "jobs": jobs}
        with self.writing, (self.folder / "jobs.jsonl").open("a") as stream:
            stream.write(f"{json.dumps(entry)}\n")

    def settle(self, needed: dict[str, object], digest: Callable, logger) -> list[SubmittedJobInfo]:
        """Take over or cancel queued jobs whose Snakemake is dead, and remove records without queued jobs.

        `needed`: the needed jobs by output. `digest`: returns that of a job, or None if its inputs are not final.
        Return the jobs that are taken over. Raises WorkflowError if the Snakemake of a job for these outputs is still
        running, or its state cannot be determined.
        """
        queue, lost, equal = queued(), [], {}
        for folder in sorted(FOLDER.iterdir()):
            if folder == self.folder:
                continue
            known, status = jobs_of(folder), state(folder)
            left = [number for number, name in queue.items() if name == folder.name]
            ours = {number: [one for one in known.get(number, []) if needed.keys() & one["outputs"]] for number in left}
            if status != "dead":
                if same := sorted(number for number, jobs in ours.items() if jobs):
                    raise WorkflowError(
                        f"Job(s) {', '.join(same)} in the queue produce the same outputs for another Snakemake, which "
                        f"{status}. Wait for it or stop it with Ctrl-C; if it is dead, run "
                        f"`scancel --name={folder.name}`. Then run this command again."
                    )
                continue
            if not left:
                shutil.rmtree(folder, ignore_errors=True)
            equal[folder] = {}
            for number, jobs in ours.items():
                jobs = [(needed[(needed.keys() & one["outputs"]).pop()], one) for one in jobs if not is_over(one)]
                # The outputs of a job are unknown if Snakemake was killed during its submission.
                if number not in known or any(one.get("digest", "") != digest(job) for job, one in jobs):
                    lost.append(number)
                elif jobs:
                    equal[folder][number] = jobs
        taken = self.take_over(equal, logger)
        lost += [number for numbers in equal.values() for number in numbers]
        if lost:
            logger.warning(
                f"Cancelling {len(lost)} job(s) that an earlier Snakemake, now dead, left in the queue: "
                f"{', '.join(lost)}."
            )
            cancel(set(lost))
        return taken

    def take_over(self, equal: dict[Path, dict[str, list]], logger) -> list[SubmittedJobInfo]:
        """Continue in the folder with the most Slurm jobs to take over, and remove it from `equal`."""
        folder = max(equal, key=lambda folder: len(equal[folder]), default=None)
        numbers = equal.pop(folder, {})
        jobs = [
            SubmittedJobInfo(job, number, {name: Path(path) for name, path in one["aux"].items()})
            for number, found in numbers.items()
            for job, one in found
        ]
        if jobs:
            record(folder)  # from here on, a Snakemake that is running has this folder and its jobs
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = folder
            logger.warning(
                f"Taking over {len(numbers)} job(s) that an earlier Snakemake, now dead, left in the queue: "
                f"{', '.join(numbers)}."
            )
        return jobs


def record(folder: Path) -> None:
    """Record this process as the one of a folder."""
    new = folder / "process.new"
    new.write_text(json.dumps(this_process()))
    new.replace(folder / "process.json")


def jobs_of(folder: Path) -> dict[str, list[dict]]:
    """Return the jobs of each Slurm job of a Snakemake; those of an array are the jobs of all its tasks."""
    path, jobs = folder / "jobs.jsonl", {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # Snakemake was killed while it wrote this line
            continue
        # Up to version 0.2.0, an entry is that of one job.
        jobs.setdefault(entry["job"].partition("_")[0], []).extend(entry.get("jobs", [entry]))
    return jobs


def is_over(job: dict) -> bool:
    """Return whether a job of a pack has ended; prevent a requeued pack from running it again."""
    aux = job.get("aux", {})
    return exit_status(aux) is not None or ("end" in aux and Path(aux["end"]).with_suffix(REPORTED).exists())


def digest(job, command: str, workflow) -> str:
    """Return a digest of what a job is started with: command, resources, params, config, and the files that it reads.

    `command`: that of the job itself, without the one of its pack. A change of installed packages, or of modules in
    other folders than the script's, is not noticed; Snakemake does not repeat finished jobs because of it either.
    """
    options = (option for option in command.split(" --") if not option.startswith(OF_PROCESS))
    settings = workflow.executor_settings
    script = job.rule.script or job.rule.notebook
    sources = {*workflow.included, *workflow.configfiles}
    if script:
        path = Path(str(job.rule.basedir.join(job.format_wildcards(script))))
        sources |= set(path.parent.glob(f"*{path.suffix}"))  # also what it may import
    parts = [
        [sorted(option.split()) for option in options],  # sets have another order in another process
        job.threads,
        sorted(f"{name}={value}" for name, value in job.resources.items() if name != "tmpdir"),  # that of this machine
        list(map(str, job.params)),
        settings,
        workflow.globals.get("config"),  # a workflow can read it from other files
        [content(*stat(path)) for path in sorted(map(str, sources))],
        [stat(path) for path in sorted(map(str, [*job.get_wait_for_files(), settings.environment]))],
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def stat(path: str) -> tuple:
    """Return a file's path, time of change and size; without them if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return (path,)
    return path, found.st_mtime_ns, found.st_size


@cache
def content(path: str, *changed: int) -> tuple[str, str]:
    is_file = changed and Path(path).is_file()
    return path, hashlib.sha256(Path(path).read_bytes()).hexdigest() if is_file else ""


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
