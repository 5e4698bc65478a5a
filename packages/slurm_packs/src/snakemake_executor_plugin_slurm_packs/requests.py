"""The requests of planned jobs, for workflows that show them before the first job."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_slurm_packs import packs
from snakemake_executor_plugin_slurm_packs.settings import ExecutorSettings


def resources(jobs: Iterable) -> list | None:
    """Return the resources of each different request of the jobs, without commands of Slurm.

    Returns None if this process does not use the executor.
    """
    settings, found = ExecutorSettings.stated, []
    for job in {packs.request(job): job for job in jobs}.values() if settings else ():
        with contextlib.suppress(WorkflowError, OSError):  # which the submission raises
            packs.check(job)
            found.append(packs.Submission(packs.full(job, settings.allocation_minutes), settings, Path()).resources)
    return settings and found
