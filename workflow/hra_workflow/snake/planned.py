"""Snakemake's plan as plain data: its jobs for cost/, and what they request of a scheduler for preflight/."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from snakemake.io import is_flagged

from hra_workflow.core import job as scripts
from hra_workflow.cost import gpu_hours
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.preflight.site import Request

RECORDS = ("train.json", "metrics.json", "retention.json")


def jobs(dag, config: dict) -> dict[object, Job]:
    """Map every job of Snakemake's plan, finished or not, to its description with estimates."""
    known = {job: described(dag, job) for job in dag.jobs}
    gpu_hours.add_estimates(config, known.values())
    return known


def tables(dag, known: dict[object, Job]) -> dict[str, list[Job]]:
    """Return the jobs of every table, by name, with all jobs they need, in the order of the workflow."""
    last = {path.stem: job for job in known if job.output and (path := Path(job.output[0])).name.startswith("table_")}
    return {name: [known[job] for job in above(dag, last[name])] for name in sorted(last)}


def above(dag, last) -> Iterator:
    """Iterate over a job and everything it depends on, dependencies first, once each."""
    seen, stack = set(), [(last, False)]
    while stack:
        job, ready = stack.pop()
        if ready:
            yield job
        elif job not in seen:
            seen.add(job)
            stack.append((job, True))
            stack += [(before, False) for before in reversed(list(dag.dependencies[job]))]


def described(dag, job) -> Job:
    outputs = [str(path) for path in job.output]
    temporary = all(is_flagged(path, "temp") for path in job.output)
    error = scripts.error_file({"rule": job.rule.name, "params": {"scratch": job.params.get("scratch")}})
    return Job(
        rule=job.rule.name,
        wildcards=dict(job.wildcards_dict),
        outputs=outputs,
        log=str(job.log[0]) if job.log else "",
        error=str(error) if error else None,
        record=next((path for path in outputs if path.endswith(RECORDS)), None),
        benchmark=str(job.benchmark) if job.benchmark else None,
        merged=[str(path) for after in dag.depending[job] for path in after.output] if temporary else [],
        gpus=requested(job, "gpu"),
        runs_per_gpu=requested(job, "jobs_per_gpu") or 1,
        needed=dag.needrun(job),
    )


def requested(job, name: str) -> int:
    return int(job.resources.get(name) or 0)


def default_partition(job, gpu: bool) -> str | None:
    """Return the partition of a job that states none, as the executor of profiles/slurm chooses it."""
    partition = (gpu and os.environ.get("HRA_SLURM_GPU_PARTITION")) or os.environ.get("HRA_SLURM_PARTITION")
    listed = os.environ.get("HRA_SLURM_PARTITIONS")
    if partition or not listed:
        return partition
    from snakemake_executor_plugin_slurm import partitions

    return partitions.get_best_partition(partitions.read_partition_file(Path(listed)), job, logging.getLogger(__name__))


def requests(jobs: Iterable) -> list[Request]:
    """Summarise Snakemake's jobs by partition, account and GPU model, of which profiles/slurm states the defaults."""
    groups: dict[tuple, list] = {}
    for job in jobs:
        gpu = requested(job, "gpu") > 0
        defaults = (default_partition(job, gpu), None, os.environ.get("HRA_SLURM_GPU_MODEL") if gpu else None)
        names = ("slurm_partition", "slurm_account", "gpu_model")
        named = (job.resources.get(name) or default for name, default in zip(names, defaults, strict=True))
        groups.setdefault((*named, gpu), []).append(job)
    return [
        Request(
            *key[:3],
            *(max(requested(job, name) for job in alike) for name in ("gpu", "runtime")),
            # Jobs that share a GPU are one job of the scheduler.
            max(requested(job, "mem_mb") * (requested(job, "jobs_per_gpu") or 1) for job in alike),
            max(job.threads * (requested(job, "jobs_per_gpu") or 1) for job in alike),
        )
        for key, alike in groups.items()
    ]
