"""The requests of planned jobs, for workflows that show or test them (`sbatch --test-only`) before the first job."""

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_slurm_packs import packs
from snakemake_executor_plugin_slurm_packs.settings import ExecutorSettings


def requests(jobs: Iterable) -> list[tuple[set[str], str, str]] | None:
    """Return, for each different request of the jobs, its rules, the options of sbatch, and why it is refused or "".

    Returns None if this process does not use the executor, and nothing without sbatch.
    """
    settings = ExecutorSettings.stated
    if not settings or not shutil.which("sbatch"):
        return settings and []
    found: dict[tuple[str, str], set[str]] = {}
    for job in {packs.request(job): job for job in jobs}.values():
        options, refusal = "", ""
        try:
            packs.check(job)
            submission = packs.Submission(packs.full(job, settings.allocation_minutes), settings, Path())
            options = packs.options(submission, settings)
        except (WorkflowError, OSError) as problem:
            refusal = str(problem)
        found.setdefault((options, refusal), set()).add(job.rule.name)
    return [(rules, *stated) for stated, rules in found.items()]


def resources(jobs: Iterable) -> list | None:
    """Return the resources of each different request of the jobs, without commands of Slurm. None as in `requests`."""
    settings, found = ExecutorSettings.stated, []
    for job in {packs.request(job): job for job in jobs}.values() if settings else ():
        with contextlib.suppress(WorkflowError, OSError):  # `requests` names the problem
            packs.check(job)
            found.append(packs.Submission(packs.full(job, settings.allocation_minutes), settings, Path()).resources)
    return settings and found
