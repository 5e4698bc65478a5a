"""Print how far the tables are: jobs done, running, waiting and failed, the ends of failed logs, GPU-hours so far.

    python workflow/scripts/status.py [TABLE …] [--configfile FILE …]

Reads files only, and may run while Snakemake works in the same folder.
"""

import argparse
import shutil
from collections import Counter

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common import config as grid
from common import costs, jobs, progress
from common.job import JobError

SHOWN = 5  # failed jobs of a table with the ends of their logs
STYLES = {"done": "green", "running": "cyan", "queued": "blue", "failed": "red", "stopped": "yellow", "waiting": "dim"}


def arguments(description: str) -> tuple[dict, list[str]]:
    """The config and the tables that the command line asks for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="glue, math, …; default: all")
    parser.add_argument("--configfile", nargs="+", action="extend", default=[], metavar="FILE")
    chosen = parser.parse_args()
    try:
        config = grid.load(chosen.configfile)
    except JobError as problem:
        raise SystemExit(str(problem)) from None
    known = grid.tables(config)
    if unknown := [name for name in chosen.tables if name not in known]:
        raise SystemExit(f"unknown table {', '.join(unknown)}; known: {', '.join(known)}")
    return config, chosen.tables or known


def counts(states: dict[jobs.Job, str]) -> Table:
    """One line a rule, in the order of the chain."""
    numbers = {}
    for job, state in states.items():
        numbers.setdefault(job.rule, Counter())[state] += 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_footer=True)
    total = Counter(states.values())
    table.add_column("", footer="all")
    for state in progress.STATES:
        table.add_column(state, str(total[state] or ""), justify="right", style=STYLES[state])
    table.add_column("all", str(total.total()), justify="right")
    for rule, count in numbers.items():
        table.add_row(rule, *(str(count[state] or "") for state in progress.STATES), str(count.total()))
    return table


def main() -> None:
    config, tables = arguments(__doc__.splitlines()[0])
    console = Console(width=shutil.get_terminal_size((140, 24)).columns, highlight=False, markup=False)
    console.print(progress.lock())
    shown = set()
    for name in tables:
        states = progress.states(jobs.of_table(config, name))
        console.print()
        console.print(f"table_{name}: {costs.summary(config, states)}", style="bold")
        console.print(counts(states))
        dead = [job for job, state in states.items() if state in ("failed", "stopped") and job not in shown]
        for job in dead[:SHOWN]:
            console.print(Text(f"{states[job]}: {job.rule} {job.name}", style=STYLES[states[job]]), f"  {job.log}")
            for line in progress.error(job).splitlines():
                console.print(f"    {line}", style="dim", soft_wrap=True)
        if len(dead) > SHOWN:
            console.print(f"  and {len(dead) - SHOWN} more; their logs are under {config['pathvars']['logs']}/")
        shown.update(dead)


if __name__ == "__main__":
    main()
