"""Cost estimates of tables from Snakemake's own plan, printed at the end of a dry run."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from hra_workflow import tasks
from hra_workflow.core import job
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import counted, listed, number, of_jobs
from hra_workflow.cost import disk, downloads, gpu_hours, planned_jobs, row_counts
from hra_workflow.tasks import tuned_runs
from hra_workflow.tasks.base import Task


def show(workflow, config: dict) -> None:
    """Print the cost estimate of every table requested in the dry run, and what they need together."""
    if workflow.dag is None:
        return
    known = all_jobs(workflow.dag, config)
    tables = of_tables(workflow.dag, known)
    if tables and not any(one.needed for one in known.values()):
        jobs = [one for one in known.values() if one.outputs]
        print(f"{', '.join(tables)}: nothing to do, all {of_jobs(len(jobs))} are done")
        return
    for name, planned in tables.items():
        print("\n".join(table(name, planned)))
    planned = list({id(one): one for some in tables.values() for one in some}.values())
    if tables:
        print("\n".join(together(config, list(tables), planned)))
    if problem := budget(config, known.values()):
        print(f"  warning:  {problem[0]}")


def start(workflow, config: dict) -> None:
    """Record the jobs that will run, for `make status`, and the choices of the tasks.

    Raises JobError if the jobs cost more than `max_gpu_hours`, or a choice is impossible on this machine.
    """
    known = all_jobs(workflow.dag, config)
    if problem := budget(config, known.values()):
        text, exceeded = problem
        if exceeded:
            raise JobError(text)
        print(text, file=sys.stderr)
    rules = {one.rule for one in known.values() if one.needed}
    for task in tasks.load(config).values():
        task.begin(rules)
    tables, results = of_tables(workflow.dag, known), config["pathvars"]["results"]
    for name, planned in tables.items():
        planned_jobs.save(results, name, planned)
    in_tables = {id(one) for some in tables.values() for one in some}
    if other := [one for one in known.values() if one.outputs and id(one) not in in_tables]:
        planned_jobs.save(results, planned_jobs.OTHER, other)


# Snakemake's plan


def of_dag(dag, config: dict) -> dict[str, list[planned_jobs.Job]]:
    """Return the jobs of every table, by name, and all jobs they need, in the order of the workflow."""
    return of_tables(dag, all_jobs(dag, config))


def all_jobs(dag, config: dict) -> dict[object, planned_jobs.Job]:
    """Map every job of Snakemake's plan, finished or not, to its description."""
    every, rates = tasks.load(row_counts.complete(config)), gpu_hours.trial_rates(config)
    return {one: one_of(dag, one, every, rates) for one in dag.jobs}


def of_tables(dag, known: dict[object, planned_jobs.Job]) -> dict[str, list[planned_jobs.Job]]:
    found = {}
    for last in known:
        if last.output and (path := Path(last.output[0])).name.startswith("table_"):
            found[path.stem] = [known[one] for one in above(dag, last)]
    return dict(sorted(found.items()))


def above(dag, last) -> Iterator:
    """Iterate over a job and everything it depends on, dependencies first, once each."""
    seen, stack = set(), [(last, False)]
    while stack:
        one, ready = stack.pop()
        if ready:
            yield one
        elif one not in seen:
            seen.add(one)
            stack.append((one, True))
            stack += [(before, False) for before in reversed(list(dag.dependencies[one]))]


def one_of(dag, planned, every: dict[str, Task], rates: list[dict]) -> planned_jobs.Job:
    from snakemake.io import is_flagged

    outputs = [str(path) for path in planned.output]
    temporary = all(is_flagged(path, "temp") for path in planned.output)
    made = planned_jobs.Job(
        rule=planned.rule.name,
        wildcards=dict(planned.wildcards_dict),
        outputs=outputs,
        log=str(planned.log[0]) if planned.log else "",
        record=next(
            (path for path in outputs if path.endswith(("train.json", "metrics.json", "retention.json"))), None
        ),
        benchmark=str(planned.benchmark) if planned.benchmark else None,
        merged=[str(path) for after in dag.depending[planned] for path in after.output] if temporary else [],
        gpus=resource(planned, "gpu", 0),
        needed=dag.needrun(planned),
    )
    error = job.error_file({"rule": made.rule, "params": {"scratch": planned.params.get("scratch")}})
    made.error = str(error) if error else None
    made.runs_per_gpu = resource(planned, "jobs_per_gpu", 1)
    made.work = gpu_hours.work(every, made.rule, made.wildcards)
    made.measured = gpu_hours.by_preflight(rates, every, made)
    made.stated = gpu_hours.stated(every, made)
    return made


def resource(planned, name: str, default: int) -> int:
    """Return one resource that a job requests, such as its number of GPUs."""
    # `planned.resources` evaluates all of them, which took most of the plan's time.
    stated = planned.rule.resources.get(name)
    found = stated.evaluate(planned.wildcards, input=planned.input, attempt=1, rulename=planned.rule.name)
    return int(found.constrain(planned.rule.workflow.global_resources.get(name)).value or default)


# What is printed


def estimate(planned: Iterable[planned_jobs.Job]) -> gpu_hours.Hours:
    planned = list(planned)
    return gpu_hours.hours(*([one for one in planned if one.needed == needed] for needed in (False, True)))


def table(name: str, planned: list[planned_jobs.Job]) -> list[str]:
    """Describe one table: its jobs, hours by stage and by method, and where the hours go."""
    done = [one for one in planned if not one.needed]
    count, there = (Counter(one.stage for one in some if one.work != 0) for some in (planned, done))
    stages = {"train": "training run", "generate": "shard", "evaluate": "evaluation"}
    parts = [
        counted(count[stage], what) + (f" ({there[stage]:,} done)" if there[stage] else "")
        for stage, what in stages.items()
        if count[stage]
    ]
    if shared := gpu_jobs(planned):
        parts[0] += f" in {counted(shared, 'GPU job')}"
    including = f", including {', '.join(parts)}" if parts else ""
    return [
        f"{name}: {of_jobs(len(planned))} ({len(done):,} done){including}",
        *of_hours(estimate(planned)),
    ]


def gpu_jobs(planned: list[planned_jobs.Job]) -> int:
    """Return the number of jobs of the scheduler that the remaining training runs need; 0 if none share a GPU."""
    left = [one for one in planned if one.stage == "train" and one.needed and one.gpus and one.work != 0]
    counts = Counter((one.rule, one.runs_per_gpu) for one in left)
    if all(size == 1 for _, size in counts):
        return 0
    return sum(-(-number // size) for (_, size), number in counts.items())


def of_hours(found: gpu_hours.Hours) -> list[str]:
    by = {
        "stages": found.by(lambda one: one.job.stage),
        "methods": found.by(lambda one: one.job.wildcards.get("method", "shared by methods")),
    }
    lines = [
        f"  {f'{what}:':<10}{listed(f'{name} {number(hours)}' for name, (hours, _) in parts.items())}"
        for what, parts in by.items()
        if parts
    ]
    return [*[f"  hours:    {found}"] * bool(str(found)), *lines, *[f"  dearest:  {found.dearest()}"] * bool(lines)]


def together(config: dict, names: list[str], planned: list[planned_jobs.Job]) -> list[str]:
    """Describe what the tables need together: downloads, licences, disk, and, of several tables, hours."""
    several, halved = len(names) > 1, filter(tuned_runs.halved, of_names(config, names))
    return [
        *([f"all {len(names)} tables: {of_jobs(len(planned))}", *of_hours(estimate(planned))] if several else ()),
        f"  download: {downloads.summary(config, planned)}",
        *(f"  {text}" for task in of_names(config, names) for text in task.choices()),
        *(f"  trials:   of {task.name}, those of later rungs are planned when known" for task in halved),
        *(f"  licence:  {line}" for line in downloads.licences(config, planned)),
        f"  disk:     {disk.estimate(config, planned)}",
        *(f"  warning:  {text}" for text in warnings(config, names, planned)),
    ]


def warnings(config: dict, names: Iterable[str], planned: list[planned_jobs.Job]) -> list[str]:
    """List settings that give a table's numbers another meaning than expected, and missing tokens."""
    notes = [text for task in of_names(config, names) for text in (*task.warnings(), *task.rewinding_notes())]
    return notes + downloads.missing_tokens(config, planned)


def of_names(config: dict, names: Iterable[str]) -> list[Task]:
    """Return the tasks whose main tables are among these."""
    every = tasks.load(config)
    return [every[task] for name in names if (task := name.removeprefix("table_")) in every]


# The budget


def budget(config: dict, planned: Iterable[planned_jobs.Job]) -> tuple[str, bool] | None:
    """Compare the remaining jobs with `max_gpu_hours`: return what to say, and whether they exceed it.

    None: they do not, and all have an estimate; or there is no limit, as for the trial runs of `make preflight`.
    """
    most = config["max_gpu_hours"]
    if most is None or config["preflight"] == "jobs":
        return None
    found = estimate(planned)
    if found.left > most:
        return (
            f"The remaining jobs need about {number(found.left)} GPU-hours ({found.grounds()}), more than "
            f"`max_gpu_hours: {number(most)}`. The dearest: {found.dearest()}. Request fewer runs, or raise the limit: "
            f"--config max_gpu_hours={math.ceil(found.left)}"
        ), True
    return (f"`max_gpu_hours` cannot count all jobs: {found.unknown()}", False) if found.unknown() else None
