"""Snakemake's plan as plain data: its jobs for cost/, and their requests to a scheduler for preflight/."""

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from snakemake.io import is_flagged

from hra_workflow.core import logs
from hra_workflow.cost import estimates
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.preflight import site
from hra_workflow.preflight.findings import Finding

REQUESTS = "hra_workflow.scheduler_requests"
RECORDS = ("train.json", "metrics.json", "retention.json")


def jobs(dag, config: dict) -> dict[object, Job]:
    """Map every job of Snakemake's plan, finished or not, to its description with estimates."""
    known = {job: described(dag, job, config["preflight"] == "jobs") for job in dag.jobs}
    estimates.add_estimates(config, known.values())
    return known


def tables(dag, known: dict[object, Job]) -> dict[str, list[Job]]:
    """Return the jobs of every table by its name, with all jobs that they need, in the order of the workflow."""
    last = {path.stem: job for job in known if job.output and (path := Path(job.output[0])).name.startswith("table_")}
    return {name: [known[job] for job in above(dag, last[name])] for name in sorted(last)}


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


def described(dag, job, probe: bool) -> Job:
    outputs = [str(path) for path in job.output]
    temporary = all(is_flagged(path, "temp") for path in job.output)
    error = logs.error_file({"rule": job.rule.name, "params": {"scratch": job.params.get("scratch")}})
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
        probe=probe,
    )


def requested(job, name: str) -> int:
    return int(job.resources.get(name) or 0)


def scheduler(jobs: list, runs_here: bool) -> Iterator[Finding]:
    """Test every request of the jobs with Slurm, as the executor in use would send it, if it registers its requests.

    An entry point of the group REQUESTS is a function of Snakemake's jobs. It returns the rules, the options of sbatch
    and the executor's reason against submitting them, "" if there is none, of each different request; None if its
    executor is not in use.
    """
    for entry in entry_points(group=REQUESTS):
        if (found := entry.load()(jobs)) is not None:
            if not shutil.which("sbatch"):
                yield Finding("Slurm", False, "expected the command `sbatch`, found none. Run this on a login node")
                return
            yield from (site.request(*one) for one in found)
            return
    if not runs_here:
        print("  …     scheduler: not checked, since the executor does not report its requests", file=sys.stderr)
    elif most := max((requested(job, "gpu") for job in jobs), default=0):
        yield site.gpus(most)
