"""Cost estimates of tables from the planned jobs (snakemake_bridge/planned.py), printed at the end of a dry run."""

from collections import Counter
from collections.abc import Iterable

from hra_workflow import tasks
from hra_workflow.core.wording import hours_of, listed, plural
from hra_workflow.cost import downloads, planned_jobs
from hra_workflow.cost.hours import estimate
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.report import selections
from hra_workflow.tasks import columns, user_data
from hra_workflow.tasks.base import Task

STAGES = {"train": "training run", "generate": "shard", "evaluate": "evaluation"}


def show(config: dict, tables: dict[str, list[Job]], every: Iterable[Job]) -> None:
    """Print the cost estimate of every table of a dry run, and their common needs. `every`: all jobs of the run."""
    every = [job for job in every if job.outputs]
    if tables and not any(job.needed for job in every):
        print(f"{', '.join(tables)}: nothing to do, all {plural(len(every), 'job')} are done")
        return
    for name, planned in tables.items():
        print("\n".join(table(name, planned)))
    if tables:
        # Two tables refer to a shared job by the same object.
        together = {id(job): job for planned in tables.values() for job in planned}
        print("\n".join(common(config, list(tables), list(together.values()))))


def start(config: dict, tables: dict[str, list[Job]]) -> None:
    """Record the jobs of the tables that a run makes, for `hra-workflow status`."""
    for name, planned in tables.items():
        planned_jobs.save(config["pathvars"]["results"], name, planned)


def table(name: str, planned: list[Job]) -> list[str]:
    """Describe one table: its jobs, and its hours by stage."""
    done = [one for one in planned if not one.needed]
    count, there = (Counter(one.stage for one in some if one.work != 0) for some in (planned, done))
    parts = [
        plural(count[stage], what) + (f" ({there[stage]:,} done)" if there[stage] else "")
        for stage, what in STAGES.items()
        if count[stage]
    ]
    including = f", including {', '.join(parts)}" if parts else ""
    return [f"{name}: {plural(len(planned), 'job')} ({len(done):,} done){including}", *of_hours(planned)]


def of_hours(planned: list[Job]) -> list[str]:
    """Describe the hours of jobs, if any are known or wanted."""
    found = estimate(planned)
    stages = listed(f"{name} {hours_of(of_stage)}" for name, of_stage in found.by_stage().items())
    lines = {"hours:   ": str(found), "stages:  ": stages}
    return [f"  {what} {text}" for what, text in lines.items() if text]


def common(config: dict, names: list[str], planned: list[Job]) -> list[str]:
    """Describe the tables' common needs: downloads, licences, and, for several tables, hours."""
    several = len(names) > 1
    return [
        *([f"all {len(names)} tables: {plural(len(planned), 'job')}", *of_hours(planned)] if several else ()),
        f"  download: {downloads.summary(config, planned)}",
        *(f"  licence:  {line}" for line in downloads.licences(config, planned)),
        *(f"  data:     {line}" for task in of_names(config, names) for line in user_data.contents(task)),
        *(f"  warning:  {text}" for text in warnings(config, names, planned)),
    ]


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
