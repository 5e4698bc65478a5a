"""Snakemake's plan as plain data: its jobs for cost/."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from snakemake.io import is_flagged

from hra_workflow.cost import estimates
from hra_workflow.cost.planned_jobs import Job

RECORDS = ("train.json", "metrics.json", "retention.json")


def jobs(dag, config: dict) -> dict[object, Job]:
    """Map every job of Snakemake's plan, finished or not, to its description with estimates."""
    known = {job: described(dag, job) for job in dag.jobs}
    estimates.add_estimates(config, known.values())
    return known


def tables(dag, known: dict[object, Job]) -> dict[str, list[Job]]:
    """Return the jobs of every table by its name, with all jobs that they need, in the order of the workflow."""
    return {name: [known[job] for job in above(dag, last)] for name, last in sorted(of_tables(known).items())}


def of_tables(jobs: Iterable) -> dict:
    """Return Snakemake's jobs that make a table, by its name."""
    made = {Path(job.output[0]): job for job in jobs if job.output}
    return {path.stem: job for path, job in made.items() if path.name.startswith("table_")}


def above(dag, *last) -> Iterator:
    """Iterate over jobs and everything they depend on, dependencies first, once each."""
    seen, stack = set(), [(job, False) for job in reversed(last)]
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
    return Job(
        rule=job.rule.name,
        wildcards=dict(job.wildcards_dict),
        outputs=outputs,
        log=str(job.log[0]) if job.log else "",
        record=next((path for path in outputs if path.endswith(RECORDS)), None),
        benchmark=str(job.benchmark) if job.benchmark else None,
        merged=[str(path) for after in dag.depending[job] for path in after.output] if temporary else [],
        gpus=requested(job, "gpu"),
        runs_per_gpu=requested(job, "jobs_per_gpu") or 1,
        needed=dag.needrun(job),
    )


def requested(job, name: str) -> int:
    return int(job.resources.get(name) or 0)
