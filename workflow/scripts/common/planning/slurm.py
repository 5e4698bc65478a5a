"""Handling of leftover Slurm jobs before Snakemake submits its first job.

Each Snakemake names its jobs hra-PATHS-ID: PATHS is a hash of the working directory and the result folders, ID is
unique. .snakemake/slurm/NAME.json records the process, so that a later Snakemake can tell whether it is still running.
"""

import hashlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

from common import ROOT
from common.core import files, process_identity
from common.planning import packs

UNPACK = Path(ROOT, "profiles/slurm/unpack-environment.sh")
RECORDS = Path(".snakemake/slurm")
# A cancelled training saves a checkpoint first; Slurm kills what has not ended after KillWait (30 s unless set).
PATIENCE_SECONDS = 120


def before_the_first_job(workflow, config: dict) -> None:
    """Cancel leftover jobs and name this run's; called in `onstart`, while Snakemake holds its lock on the outputs."""
    if workflow.executor_plugin.name != "slurm":
        return
    from common.planning import slurm_packs  # imports the plugin

    mark = f"hra-{paths_hash(config['pathvars'])}"
    clear(mark, {packs.comment(job.rule.name, job.wildcards) for job in workflow.dag.jobs})
    # The plugin submits all jobs under this name and queries squeue for it; nothing has been submitted yet.
    executor = workflow.scheduler._executor
    executor.run_uuid = f"{mark}-{executor.run_uuid}"
    files.write_json(RECORDS / f"{executor.run_uuid}.json", process_identity.this_process())
    ask_again_after_silence()
    unpack_the_environment(workflow.remote_execution_settings)
    slurm_packs.install(workflow)
    print(f"Slurm jobs of this run are named {executor.run_uuid}", file=sys.stderr)


def unpack_the_environment(settings) -> None:
    """Have every job first unpack the environment to the node's local disk, where it is on the login node."""
    if archive := os.environ.get("HRA_SLURM_ENVIRONMENT"):
        unpack = shlex.join([str(UNPACK), archive, sys.prefix])
        settings.precommand = " && ".join(filter(None, [unpack, settings.precommand]))


def ask_again_after_silence() -> None:
    """Make the executor keep its jobs if squeue fails, as while the controller restarts or does not answer in time.

    After five failures in a row snakemake-executor-plugin-slurm (2.8.0) forgets them, and Snakemake waits forever.
    """
    import snakemake_executor_plugin_slurm as plugin

    query = plugin.query_job_status

    async def states(command, logger):
        found, seconds = await query(command, logger)
        return ({}, 0.0) if found is None else (found, seconds)  # a job that the answer lacks is asked for again

    plugin.query_job_status = states


def paths_hash(pathvars: dict) -> str:
    """Compute a hash that is equal for two Snakemakes if they write to the same folders."""
    places = [os.getcwd(), *(os.path.realpath(pathvars[name]) for name in ("results", "resources", "scratch"))]
    return hashlib.sha256("\n".join(places).encode()).hexdigest()[:12]


def clear(mark: str, comments: set[str]) -> None:
    """Cancel queued jobs for the same outputs that a dead Snakemake left behind.

    Raises WorkflowError if their Snakemake is still running, or its state cannot be determined.
    """
    queue = queued()
    ours = {job: name for job, name, what in queue if name.startswith(f"{mark}-") and packs.comments(what) & comments}
    states = {name: state(name) for name in set(ours.values())}
    for name, found in sorted(states.items()):
        if found == "dead":
            continue
        jobs = ", ".join(sorted(job for job, its in ours.items() if its == name))
        raise WorkflowError(
            f"Job(s) {jobs} in the queue produce the same outputs for another Snakemake, which {found}. Wait for it or "
            f"stop it with Ctrl-C; if it is dead, run `scancel --name={name}`. Then run this command again."
        )
    if ours:
        print(
            f"Cancelling {len(ours)} job(s) that an earlier Snakemake, now dead, left in the queue: "
            f"{', '.join(sorted(ours))}. Training resumes from its last checkpoint.",
            file=sys.stderr,
        )
        cancel(set(ours))
    names = {name for job, name, _ in queue if job not in ours}
    for record in RECORDS.glob("*.json"):
        if record.stem not in names and state(record.stem) == "dead":
            record.unlink(missing_ok=True)


def queued() -> list[list[str]]:
    """List ID, name and comment of the user's pending and running jobs."""
    found = slurm("squeue", "--me", "--noheader", "--format=%A\t%j\t%k")
    return [line.split("\t") for line in found.splitlines()]


def cancel(jobs: set[str]) -> None:
    """Cancel jobs and wait until all of their processes have ended."""
    slurm("scancel", *sorted(jobs))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while jobs & {job for job, *_ in queued()}:
        if time.monotonic() > deadline:
            raise WorkflowError(
                f"Slurm still lists {', '.join(sorted(jobs))} after scancel. Wait for them, or ask the administrators."
            )
        time.sleep(1)


def slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WorkflowError(f"`{' '.join(command)}` failed: {done.stderr.strip()}. Is Slurm up? Run the command again.")
    return done.stdout


def state(name: str) -> str:
    """Describe whether the Snakemake of this name is dead, is running, or cannot be observed from here."""
    try:
        record = files.read_json(RECORDS / f"{name}.json")
        found, pid = process_identity.state(record), f"process {record['pid']} on {record['host']}"
    except (OSError, ValueError, KeyError):
        return f"has left no record in {RECORDS}"
    return {"dead": "dead", "running": f"is {pid}"}.get(found, f"was {pid}: {found}")
