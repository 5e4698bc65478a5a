"""Cost estimates of tables from the planned jobs (snakemake_bridge/planned.py), printed at the end of a dry run."""

import math
import sys
from collections import Counter
from collections.abc import Iterable

from hra_workflow import tasks
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import hours, hours_of, listed, number, of_jobs, plural
from hra_workflow.cost import downloads, estimates, planned_jobs
from hra_workflow.cost.hours import Hours, add_up
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.report import selections
from hra_workflow.tasks import columns, tuned_runs, user_data
from hra_workflow.tasks.base import Task


def show(config: dict, tables: dict[str, list[Job]], every: Iterable[Job]) -> None:
    """Print the cost estimate of every table of a dry run, and their common needs. `every`: all jobs of the run."""
    every = [job for job in every if job.outputs]
    if tables and not any(job.needed for job in every):
        print(f"{', '.join(tables)}: nothing to do, all {of_jobs(len(every))} are done")
        return
    for name, planned in tables.items():
        print("\n".join(table(name, planned)))
    if tables:
        print("\n".join(together(config, list(tables), list(of_tables(tables).values()))))
    if problem := budget(config, every):
        print(f"  warning:  {problem[0]}")


def start(config: dict, tables: dict[str, list[Job]], every: Iterable[Job]) -> None:
    """Record the jobs that will run, for `hra-workflow status`.

    Raises JobError if the jobs need more than `max_gpu_hours`.
    """
    every = list(every)
    if problem := budget(config, every):
        text, exceeded = problem
        if exceeded:
            raise JobError(text)
        print(text, file=sys.stderr)
    results, in_tables = config["pathvars"]["results"], of_tables(tables)
    for name, planned in tables.items():
        planned_jobs.save(results, name, planned)
    if other := [job for job in every if job.outputs and id(job) not in in_tables]:
        planned_jobs.save(results, planned_jobs.OTHER, other)


def of_tables(tables: dict[str, list[Job]]) -> dict[int, Job]:
    """Return every job of the tables once, by its id: two tables refer to a shared job by the same object."""
    return {id(job): job for planned in tables.values() for job in planned}


def estimate(planned: Iterable[Job]) -> Hours:
    planned = list(planned)
    return add_up(*([one for one in planned if one.needed == needed] for needed in (False, True)))


def table(name: str, planned: list[Job]) -> list[str]:
    """Describe one table: its jobs, its hours by stage and by method, and the items with the most hours."""
    done = [one for one in planned if not one.needed]
    count, there = (Counter(one.stage for one in some if one.work != 0) for some in (planned, done))
    stages = {"train": "training run", "generate": "shard", "evaluate": "evaluation"}
    parts = [
        plural(count[stage], what) + (f" ({there[stage]:,} done)" if there[stage] else "")
        for stage, what in stages.items()
        if count[stage]
    ]
    including = f", including {', '.join(parts)}" if parts else ""
    return [
        f"{name}: {of_jobs(len(planned))} ({len(done):,} done){including}",
        *of_hours(estimate(planned)),
    ]


def of_hours(found: Hours) -> list[str]:
    by = {
        "stages": found.by(lambda job: job.stage),
        "methods": found.by(lambda job: job.wildcards.get("method", "shared by methods")),
    }
    lines = [
        f"  {f'{what}:':<10}{listed(f'{name} {hours(of_stage)}' for name, of_stage in parts.items())}"
        for what, parts in by.items()
        if parts
    ]
    if lines:
        wall, run = found.longest()
        lines += [f"  longest:  {hours_of(wall)} for {run}, one job after another"] * bool(run)
    return [*([f"  hours:    {found}"] if str(found) else ()), *lines]


def together(config: dict, names: list[str], planned: list[Job]) -> list[str]:
    """Describe the tables' common needs: downloads, licences, and, for several tables, hours."""
    several, tuned = len(names) > 1, filter(tuned_runs.tuned, of_names(config, names))
    return [
        *([f"all {len(names)} tables: {of_jobs(len(planned))}", *of_hours(estimate(planned))] if several else ()),
        f"  download: {downloads.summary(config, planned)}",
        *(f"  trials:   {trials(task)}" for task in tuned),
        *(f"  licence:  {line}" for line in downloads.licences(config, planned)),
        *(f"  data:     {line}" for task in of_names(config, names) for line in user_data.contents(task)),
        *[f"  memory:   {memory(config, names)}"] * any(job.gpus for job in planned),
        *(f"  warning:  {text}" for text in warnings(config, names, planned)),
    ]


def trials(task: Task) -> str:
    """Describe the cost of tuning."""
    tune, count = task.settings["tune"], len(tuned_runs.tuned(task))
    more = f"as much training as {number(tune['trials'])} more seeds"
    return f"{task.name}: {tune['trials']} for each of {plural(count, 'run')}, {more}"


def memory(config: dict, names: Iterable[str]) -> str:
    """Describe the largest memory that probes found for each rule of these tables' tasks."""
    chosen, largest = {task.name: task for task in of_names(config, names)}, {}
    jobs = estimates.reported(config, tasks.load(config), "memory")
    for job in sorted(jobs, key=lambda job: job["peak_bytes"]):
        if estimates.task_of(chosen, job["rule"], job["wildcards"]):
            peak, card = (number(job[name] / 1e9) for name in ("peak_bytes", "card_bytes"))
            largest[job["rule"]] = f"{job['rule']} {peak} of {card} GB"
    return ", ".join(largest.values()) or "unknown"


def warnings(config: dict, names: Iterable[str], planned: list[Job]) -> list[str]:
    """List settings that change the meaning of a table's numbers, and missing tokens."""
    chosen = of_names(config, names)
    notes = []
    for task in chosen:
        notes += [*task.warnings(), *columns.unshown(task)]
        notes += selections.training_split_warnings(user_data.benchmarks(task))
    return notes + downloads.missing_tokens(config, planned)


def of_names(config: dict, names: Iterable[str]) -> list[Task]:
    """Return the tasks whose main tables are among these."""
    every = tasks.load(config)
    return [every[task] for name in names if (task := name.removeprefix("table_")) in every]


def budget(config: dict, planned: Iterable[Job]) -> tuple[str, bool] | None:
    """Compare the remaining jobs with `max_gpu_hours`; return a message, and whether they exceed it.

    None: they do not, and all have an estimate; or there is no limit, as for the probes of `hra-workflow smoke`.
    """
    most = config["max_gpu_hours"]
    if most is None or config["preflight"]:
        return None
    found = estimate(planned)
    if found.left > most:
        return (
            f"The remaining jobs need about {number(found.left)} GPU-hours ({found.grounds()}), more than "
            f"`max_gpu_hours: {number(most)}`. Request fewer runs, or raise the limit: "
            f"--config max_gpu_hours={math.ceil(found.left)}"
        ), True
    unknown = found.unknown(on_gpus=True)
    return (f"`max_gpu_hours` cannot count all jobs: {unknown}", False) if unknown else None
