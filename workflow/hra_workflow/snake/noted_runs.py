"""Finished trainings that Snakemake has taken note of: what would restore them (finished_runs.py) is deleted."""

import os
import shutil
from pathlib import Path

from hra_workflow.core import lease
from hra_workflow.training.finished_runs import FOLDER


def forget(workflow) -> None:
    """Delete the second names of outputs that are there and not marked as incomplete.

    Called before the first job, so that a noted run that somebody forces is trained, and after the last one. Only this
    Snakemake's own outputs are looked at, which it has locked. A run that a process is training is left alone.
    """
    for job in workflow.dag.jobs:
        record = job.output.get("record")
        if not record or not (kept := Path(record).with_name(FOLDER)).exists():
            continue
        if noted(workflow, job) and not lease.of(kept.parent).exists():
            shutil.rmtree(kept, ignore_errors=True)


def noted(workflow, job) -> bool:
    """Return whether the outputs of a job are there and not marked as incomplete.

    Before the first job, Snakemake has the markers with which it planned: what has ended since then still runs again.
    """
    incomplete = workflow.async_run(workflow.persistence.incomplete(job))
    return not incomplete and all(map(os.path.exists, job.output))
