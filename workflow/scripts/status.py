"""Print the progress of the tables: jobs done, running, waiting and failed, tails of failed logs, GPU-hours used.

    python workflow/scripts/status.py [TABLE …] [--watch]

The jobs are those of the last run in this folder that requested the table (glue, math, …; other: those that no table
needs, such as figures; default: all). This script only reads files, so it can run while Snakemake is running in the
same folder.
"""

import argparse
import shutil
import time
from collections import Counter
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.planning import gpu_hours, planned_jobs, progress

WATCHED = 10
SHOWN = 5  # failed jobs per table that are shown with the tails of their logs
STYLES = {"done": "green", "running": "cyan", "queued": "blue", "failed": "red", "stopped": "yellow", "waiting": "dim"}


def counts(states: list[tuple[planned_jobs.Job, str]]) -> Table:
    """Build a table of job counts with one line per rule, in the order of the workflow."""
    numbers, total = {}, Counter(state for _, state in states)
    for job, state in states:
        numbers.setdefault(job.rule, Counter())[state] += 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_footer=True)
    table.add_column("", footer="all")
    for state in progress.STATES:
        table.add_column(state, str(total[state] or ""), justify="right", style=STYLES[state])
    table.add_column("all", str(total.total()), justify="right")
    for rule, count in numbers.items():
        table.add_row(rule, *(str(count[state] or "") for state in progress.STATES), str(count.total()))
    return table


def show(console: Console, names: list[str], asked: dict[str, Path]) -> None:
    console.print(progress.lock())
    shown = set()
    for name in names or asked:
        states = progress.states(planned_jobs.load(asked[name]))
        done, left = ([job for job, state in states if (state == "done") == wanted] for wanted in (True, False))
        title = "other targets" if name == planned_jobs.OTHER else f"table_{name}"
        console.print()
        console.print(f"{title}: {gpu_hours.hours(done, left)}", style="bold")
        console.print(progress.pace(states, time.time()))
        console.print(counts(states))
        dead = [(job, state) for job, state in states if state in ("failed", "stopped") and job.log not in shown]
        for job, state in dead[:SHOWN]:
            console.print(Text(f"{state}: {job.name}", style=STYLES[state]), f"  {job.log}", soft_wrap=True)
            for line in progress.error(job).splitlines():
                console.print(f"    {line}", style="dim", soft_wrap=True)
        if len(dead) > SHOWN:
            console.print(f"  and {len(dead) - SHOWN} more; the jobs are in {asked[name]}")
        shown.update(job.log for job, _ in dead)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help="glue, math, …, other; default: everything requested"
    )
    parser.add_argument("--watch", action="store_true", help=f"print again every {WATCHED} s, until Ctrl-C")
    arguments = parser.parse_args()
    asked = {path.stem.removeprefix("table_"): path for path in sorted(planned_jobs.TABLES.glob("*.json"))}
    if unknown := [name for name in arguments.tables or ["a table"] * (not asked) if name not in asked]:
        raise SystemExit(
            f"No run in this folder requested {', '.join(unknown)}. Requested tables: {', '.join(asked) or 'none'}. "
            "`make plan` shows what would run."
        )
    console = Console(width=shutil.get_terminal_size((140, 24)).columns, highlight=False, markup=False)
    show(console, arguments.tables, asked)
    while arguments.watch:
        try:
            time.sleep(WATCHED)
        except KeyboardInterrupt:
            return
        console.clear()
        show(console, arguments.tables, asked)


if __name__ == "__main__":
    main()
