"""Print the progress of the tables: jobs done, running, waiting and failed, tails of failed logs, GPU-hours used.

    python workflow/scripts/status.py [TABLE …] [--configfile FILE …] [--watch]

The jobs are those of the last run in this folder that requested the table (glue, math, …; other: targets that no table
needs, such as figures; default: all) and had the config's folder of results (default: any). The script only reads
files, so it can run while Snakemake is running in the same folder.
"""

import argparse
import itertools
import shutil
import time
from collections import Counter
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hra_workflow import ROOT
from hra_workflow.config import overlays
from hra_workflow.cost import gpu_hours, planned_jobs, progress, run_history
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.cost.run_history import History

WATCHED = 10
BROKEN = ("failed", "stopped")
SHOWN = 5  # maximum failed jobs per table that are printed with the tails of their logs
STYLES = {"done": "green", "running": "cyan", "queued": "blue", "failed": "red", "stopped": "yellow", "waiting": "dim"}


def counts(states: list[tuple[Job, str]]) -> Table:
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


def show(console: Console, asked: list[tuple[str, str, Path]]) -> None:
    shown = set()
    for results, tables in itertools.groupby(asked, key=lambda table: table[0]):
        history = run_history.read(planned_jobs.folder(results) / run_history.NAME)
        console.print(progress.of_runs(history))
        for _, name, path in tables:
            title = f"{results}, other targets" if name == planned_jobs.OTHER else f"{results}/{name}"
            states = progress.states(path, history)
            show_table(console, title, states, history)
            show_failures(console, path, [entry for entry in states if entry[0].log not in shown])
            shown.update(job.log for job, state in states if state in BROKEN)


def show_table(console: Console, title: str, states: list[tuple[Job, str]], history: History) -> None:
    done, left = ([job for job, state in states if (state == "done") == wanted] for wanted in (True, False))
    console.print()
    hours = str(gpu_hours.hours(done, left))
    console.print(f"{title}: {hours}" if hours else title, style="bold")
    console.print(progress.pace(states, history, time.time()))
    console.print(counts(states))


def show_failures(console: Console, path: Path, states: list[tuple[Job, str]]) -> None:
    """Print the first failed jobs with the tails of their logs; `path`: the file of the table's jobs."""
    broken = [(job, state) for job, state in states if state in BROKEN]
    for job, state in broken[:SHOWN]:
        console.print(Text(f"{state}: {job.name}", style=STYLES[state]), f"  {job.log}", soft_wrap=True)
        for line in progress.error(job).splitlines():
            console.print(f"    {line}", style="dim", soft_wrap=True)
    if len(broken) > SHOWN:
        console.print(f"  and {len(broken) - SHOWN} more; the jobs are in {path}")


def results_of(configs: list[str]) -> str:
    """Return the folder of results of a run with these config files."""
    if missing := [path for path in configs if not Path(path).is_file()]:
        raise SystemExit(f"No file {', '.join(missing)}.")
    files = overlays.with_extended(map(Path, (f"{ROOT}/config/config.yaml", *configs)), overlays.read)
    return [one["pathvars"]["results"] for _, one in files if "results" in (one.get("pathvars") or {})][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help="glue, math, …, other; default: everything requested"
    )
    parser.add_argument(
        "--configfile", nargs="+", metavar="FILE", help="only runs with this config's folder of results"
    )
    parser.add_argument("--watch", action="store_true", help=f"print again every {WATCHED} s, until Ctrl-C")
    arguments = parser.parse_args()
    results = results_of(arguments.configfile) if arguments.configfile else None
    asked = [one for one in planned_jobs.saved() if results in (None, one[0])]
    names = [name.removeprefix("table_") for _, name, _ in asked]
    if unknown := [name for name in arguments.tables or ["a table"] * (not asked) if name not in names]:
        place, known = f"with results in {results}" if results else "in this folder", ", ".join(sorted({*names}))
        raise SystemExit(
            f"No run {place} requested {', '.join(unknown)}. Requested tables: {known or 'none'}. "
            "`make plan` shows what would run."
        )
    chosen = [one for one, name in zip(asked, names, strict=True) if name in (arguments.tables or names)]
    console = Console(width=shutil.get_terminal_size((140, 24)).columns, highlight=False, markup=False)
    show(console, chosen)
    while arguments.watch:
        try:
            time.sleep(WATCHED)
        except KeyboardInterrupt:
            return
        console.clear()
        show(console, chosen)


if __name__ == "__main__":
    main()
