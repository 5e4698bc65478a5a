"""What Snakemake must know of the Slurm cluster before it submits its first job."""

import os
import subprocess
import sys
import time

from snakemake.exceptions import WorkflowError

# A cancelled training saves its state first; Slurm kills what has not ended after KillWait (30 s unless set).
PATIENCE_SECONDS = 120


def before_the_first_job(workflow) -> None:
    """Called in `onstart`, with Snakemake's lock on the outputs held."""
    if workflow.executor_plugin.name != "slurm":
        return
    orphans = jobs_of(os.getcwd(), {comment(job.rule.name, job.wildcards) for job in workflow.dag.jobs})
    if orphans:
        print(
            f"Cancelling {len(orphans)} job(s) that an earlier Snakemake, now dead, left in the queue: "
            f"{', '.join(sorted(orphans))}. Training goes on from its last saved state.",
            file=sys.stderr,
        )
        cancel(orphans)


def comment(rule: str, wildcards) -> str:
    """As snakemake-executor-plugin-slurm describes a job to Slurm."""
    values = "_".join(wildcards).replace("/", "_")
    return f"rule_{rule}_wildcards_{values}" if values else f"rule_{rule}"


def jobs_of(folder: str, comments: set[str]) -> set[str]:
    """Ids of the user's waiting and running jobs that were submitted from `folder` for one of these."""
    command = ["squeue", "--me", "--noheader", "--format=%A\t%Z\t%k"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in found.splitlines()]
    return {
        job for job, where, what in rows if os.path.realpath(where) == os.path.realpath(folder) and what in comments
    }


def cancel(jobs: set[str]) -> None:
    """Cancel jobs and wait until none of their processes is left."""
    subprocess.run(["scancel", *jobs], check=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    command = ["squeue", "--me", "--noheader", "--format=%A"]
    while jobs & set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()):
        if time.monotonic() > deadline:
            raise WorkflowError(
                f"Slurm still lists {', '.join(sorted(jobs))} after scancel. Wait for them, or ask the admins."
            )
        time.sleep(1)
