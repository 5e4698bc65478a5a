"""Describe where the remaining jobs of a dry run would run."""

import os
from importlib.metadata import entry_points

from hra_workflow.core import gpus as local_gpus
from hra_workflow.core.wording import plural
from hra_workflow.snakemake_bridge import planned

# An entry point of this group is a function of Snakemake's jobs. It returns the resources with which its executor
# submits them to Slurm; None if that executor is not in use.
RESOURCES = "hra_workflow.scheduler_resources"
SHOWN = {"slurm_account": "account", "slurm_partition": "partition", "qos": "QOS", "gpu_model": "GPU model"}
SHOWN |= {"gres": "GRES", "lsf_project": "project", "lsf_queue": "queue"}


def text(workflow, jobs: list) -> str:
    """Describe where the `jobs` would run."""
    at_a_time = most_jobs(workflow)
    if at_a_time is None:
        return here(workflow.resource_settings.cores, max(planned.requested(job, "gpu") for job in jobs))
    return f"{scheduler(jobs)}, up to {plural(at_a_time, 'job')} at a time"


def most_jobs(workflow) -> int | None:
    """Return how many jobs a scheduler gets at a time; None if the jobs run on this machine.

    A dry run has its own executor; Snakemake sets `use_threads` for that of the run, unless its jobs run here.
    """
    return workflow.resource_settings.nodes if workflow.execution_settings.use_threads else None


def here(cores: int, requested: int) -> str:
    """Describe this machine, which has to have as many GPUs as a job requests."""
    text = f"this machine, {plural(min(cores, len(os.sched_getaffinity(0))), 'core')}"
    if not requested:
        return text
    found = len(local_gpus.visible())
    if found >= requested:
        return f"{text}, {plural(found, 'GPU')}"
    has, remedy = plural(found, "GPU") if found else "no GPU", "use your scheduler's profile (--profile slurm)"
    return f"{text}; this machine has {has}, a job requests {requested}: {remedy}"


def scheduler(jobs: list) -> str:
    """Describe what the jobs request of a scheduler, and what they leave to Slurm."""
    every = (entry.load()(jobs) for entry in entry_points(group=RESOURCES))
    slurm = next((found for found in every if found is not None), None)
    requests = [job.resources for job in jobs] if slurm is None else slurm
    values = {name: {str(one.get(key)): 0 for one in requests if one.get(key)} for key, name in SHOWN.items()}
    parts = [f"{name} {' and '.join(found)}" for name, found in values.items() if found]
    if unset := [name for name in ("account", "partition") if slurm is not None and not values[name]]:
        variables = ", ".join(f"HRA_SLURM_{name.upper()}" for name in unset)
        parts.append(f"the {' and '.join(unset)} that Slurm chooses by default (set {variables})")
    return ": ".join(filter(None, ["a scheduler" if slurm is None else "Slurm", ", ".join(parts)]))
