"""The progress of the tables: jobs done, running, waiting and failed, ends of failed logs, GPU-hours used.

The jobs are those of the last run in this folder that requested the table (glue, math, …; default: all) and had the
config's folder of results (default: any). It only reads files, so Snakemake may be running in the same folder.
"""

import itertools
from pathlib import Path

import pandas as pd

from hra_workflow.commands.project import Project
from hra_workflow.core.errors import JobError
from hra_workflow.core.logs import tail
from hra_workflow.core.wording import meant
from hra_workflow.cost import estimates, planned_jobs
from hra_workflow.cost.planned_jobs import Job

STATES = ["done", "running", "failed", "stopped", "waiting"]
SHOWN = 5  # maximum failed jobs per table that are printed
LINES = 5  # of their logs


def counts(states: list[tuple[Job, str]]) -> str:
    """Format the number of jobs by rule, in the order of the workflow, and state."""
    jobs = pd.DataFrame([(job.rule, state) for job, state in states], columns=["rule", "state"])
    table = pd.crosstab(jobs["rule"], jobs["state"], margins=True, margins_name="all")
    table = table.reindex(index=[*jobs["rule"].unique(), "all"], columns=[*STATES, "all"], fill_value=0)
    return table.astype(object).replace(0, "").rename_axis(index=None, columns=None).to_string()


def show_table(name: str, path: Path, running: bool) -> None:
    """Print the hours, the counts and the failed jobs of one table. path: the file of its jobs."""
    states = planned_jobs.states(path, running)
    done, left = ([job for job, state in states if (state == "done") == wanted] for wanted in (True, False))
    text = str(estimates.add_up(done, left))
    print(f"\n{name}: {text}" if text else f"\n{name}", counts(states), sep="\n")
    broken = [(job, state) for job, state in states if state in ("failed", "stopped")]
    for job, state in broken[:SHOWN]:
        print(f"{state}: {job.name}   {job.log}")
        for line in tail(Path(job.log), LINES).splitlines():
            print(f"    {line}")
    if len(broken) > SHOWN:
        print(f"  and {len(broken) - SHOWN} more; the jobs are in {path}")


def print_progress(project: Project, table: str | None) -> None:
    """Print the progress of the runs with the project's folder of results, by default of all in this folder."""
    results = project.results() if project.configs else None
    asked = [one for one in planned_jobs.saved() if results in (None, one[0])]
    names = [name.removeprefix("table_") for _, name, _ in asked]
    if not asked or (table and table not in names):
        place, known = f"with results in {results}" if results else "in this folder", ", ".join(sorted({*names}))
        raise JobError(
            f"expected a run {place} that requested {table or 'a table'}, found {known or 'none'}"
            f"{meant(table or '', names)}. `hra-workflow plan` shows what would run"
        )
    for folder, tables in itertools.groupby(asked, key=lambda one: one[0]):
        running, sentence = planned_jobs.of_snakemake(folder)
        print(sentence)
        for _, name, path in tables:
            if table in (None, name.removeprefix("table_")):
                show_table(f"{folder}/{name}", path, running)
