"""The progress of the tables: jobs done, running, waiting and failed, ends of failed logs, GPU-hours used.

The jobs are those of the last run in this folder that requested the table (glue, math, …; default: all) and had the
config's folder of results (default: any). It only reads files, so Snakemake may be running in the same folder.
"""

import itertools
import shutil
from collections import Counter
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hra_workflow.commands.project import Project
from hra_workflow.core.errors import JobError
from hra_workflow.core.logs import tail
from hra_workflow.core.wording import meant
from hra_workflow.cost import hours, planned_jobs, progress
from hra_workflow.cost.planned_jobs import Job

BROKEN = ("failed", "stopped")
SHOWN = 5  # maximum failed jobs per table that are printed
LINES = 5  # of their logs
STYLES = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "waiting": "dim"}


def counts(states: list[tuple[Job, str]]) -> Table:
    """Build a table of job counts with one line per rule, in the order of the workflow."""
    numbers, total = {}, Counter(state for _, state in states)
    for job, state in states:
        numbers.setdefault(job.rule, Counter())[state] += 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_footer=True)
    table.add_column("", footer="all")
    for state, style in STYLES.items():
        table.add_column(state, str(total[state] or ""), justify="right", style=style)
    table.add_column("all", str(total.total()), justify="right")
    for rule, count in numbers.items():
        table.add_row(rule, *(str(count[state] or "") for state in STYLES), str(count.total()))
    return table


def show_table(console: Console, name: str, path: Path, running: bool) -> None:
    """Print the hours, the counts and the failed jobs of one table. path: the file of its jobs."""
    states = progress.states(path, running)
    done, left = ([job for job, state in states if (state == "done") == wanted] for wanted in (True, False))
    text = str(hours.add_up(done, left))
    console.print(f"\n{name}: {text}" if text else f"\n{name}", style="bold")
    console.print(counts(states))
    show_failures(console, path, states)


def show_failures(console: Console, path: Path, states: list[tuple[Job, str]]) -> None:
    """Print the first failed jobs with the tails of their logs; `path`: the file of the table's jobs."""
    broken = [(job, state) for job, state in states if state in BROKEN]
    for job, state in broken[:SHOWN]:
        console.print(Text(f"{state}: {job.name}", style=STYLES[state]), f"  {job.log}", soft_wrap=True)
        for line in tail(Path(job.log), LINES).splitlines():
            console.print(f"    {line}", style="dim", soft_wrap=True)
    if len(broken) > SHOWN:
        console.print(f"  and {len(broken) - SHOWN} more; the jobs are in {path}")


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
    console = Console(width=shutil.get_terminal_size((140, 24)).columns, highlight=False, markup=False)
    for folder, tables in itertools.groupby(asked, key=lambda one: one[0]):
        running, sentence = progress.of_snakemake(folder)
        console.print(sentence)
        for _, name, path in tables:
            if table in (None, name.removeprefix("table_")):
                show_table(console, f"{folder}/{name}", path, running)
