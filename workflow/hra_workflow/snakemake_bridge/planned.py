"""Snakemake's plan as plain data: its jobs for cost/, and as a file."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

from snakemake.io import is_flagged

from hra_workflow.core import files
from hra_workflow.core.job import from_snakemake
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


# The jobs as a file, described in workflow/schemas/plan.schema.json, for programs that are not part of the workflow

VERSION = 1


def write_file(workflow, config: dict, basedir: Path) -> None:
    """Write the plan of a dry run to the file of the config."""
    known = jobs(workflow.dag, config)
    left = {job.name: job.hours for job in estimates.estimate(known.values()).remaining}
    last = of_tables(known)
    users: dict = {job: [] for job in above(workflow.dag, *last.values(), *known) if job.output}
    for name, table in last.items():
        for job in above(workflow.dag, table):
            users[job].append(name)
    listed = [
        of_job(workflow, job)
        | {"tables": names, "needed": known[job].needed, "gpus": known[job].gpus}
        | {"gpu_hours": (spent := estimates.estimate([known[job]])).gpu, "cpu_hours": spent.cpu}
        | {"hours_left": left.get(known[job].name, 0.0)}
        for job, names in users.items()
    ]
    content = {"version": VERSION, "basedir": str(basedir), "config": config, "jobs": listed}
    files.write_text(config["plan_file"], json.dumps(content, indent=1) + "\n")


def of_job(workflow, job) -> dict:
    """Return a job as its script gets it, with all its files and its times."""
    plain = from_snakemake(
        SimpleNamespace(
            rule=job.rule.name, input=job.input, output=job.output, params=job.params, resources={}, threads=1,
            wildcards=SimpleNamespace(items=job.wildcards_dict.items), log=[*job.log, ""],
        )
    )  # fmt: skip
    recorded = workflow.persistence.metadata(job.output[0])
    return {name: plain[name] for name in ("rule", "wildcards", "input", "output", "params")} | {
        "script": Path(job.format_wildcards(str(job.rule.script))).name if job.rule.script else None,
        "inputs": [str(path) for path in job.input],
        "outputs": [str(path) for path in job.output],
        "benchmark": str(job.benchmark) if job.benchmark else None,
        "started": recorded and recorded.starttime,
        "finished": recorded and recorded.endtime,
    }
