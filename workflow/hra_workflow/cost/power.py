"""The power of a grid: which differences between two of its runs a table can show, in a dry run (`make power`).

The noise is that of finished runs (compare_{task}.csv), or else stated in the config. docs/statistics.md has the
formulas.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, multimode

from hra_workflow import methods, tasks
from hra_workflow.core import grid, seals
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import hours_of, plural
from hra_workflow.cost import gpu_hours, row_counts
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.report import power
from hra_workflow.report.column_units import Unit
from hra_workflow.report.markdown_text import table
from hra_workflow.report.run_columns import TRAINING
from hra_workflow.tasks.base import Task

UNKNOWN = "unknown before two runs have two seeds; make power DEVIATION=1 SCORE=85 computes it from stated values"


@dataclass(frozen=True)
class Planned:
    """A column of the table as the grid plans it; an average has several `datasets` and `parts`.

    seeds: the number that most trained runs have. basis: where the noise is from.
    """

    name: str
    unit: Unit
    datasets: list[str]
    seeds: int
    parts: list[power.Column]
    basis: str

    @property
    def smallest(self) -> float | None:
        found = power.smallest_difference(self.parts, self.seeds)
        return None if found is None else self.unit.scale * found

    def text(self, value: float) -> str:
        return f"{value:.2g}{' points' * self.unit.percent}"


def line(config: dict, table: str) -> list[str]:
    """Describe the power of a task's main table in one line; none for another table."""
    task = tasks.load(config).get(table.removeprefix("table_"))
    return [f"  power:    {described(config, task)}"] if task else []


def described(config: dict, task: Task) -> str:
    known = [(one.smallest, one) for one in columns(config, task) if one.parts]
    shown = sorted(((value, one) for value, one in known if value is not None), key=lambda entry: entry[0])
    if not known:
        return UNKNOWN
    if not shown:
        return f"no p with fewer than {power.SEEDS} seeds per run"
    ends = [shown[0], shown[-1]] if len(shown) > 1 else shown
    parts = [f"{one.text(value)} ({one.name}, {plural(one.seeds, 'seed')})" for value, one in ends]
    return f"{100 * power.GOAL:.0f} % for differences of {' to '.join(parts)}, by {shown[0][1].basis}"


def show(config: dict, tables: dict[str, list[Job]]) -> None:
    """Print the power of every column of these tables, for `power.effect`."""
    effect = config["power"]["effect"]
    for name, planned in tables.items():
        if task := tasks.load(config).get(name.removeprefix("table_")):
            print(f"{name}: differences between two runs with p < 0.05, before Holm's correction (docs/statistics.md)")
            print(f"smallest difference, needed seeds: with a power of {100 * power.GOAL:.0f} %\n")
            rows = [row(one, effect, task, planned) for one in columns(config, task)]
            of_effect = [f"power for {effect:g} points", f"seeds for {effect:g} points"]
            heading = ["column", "items", "seeds", "smallest difference", *of_effect, "their hours", "noise"]
            print(table([heading, *rows], ["left", *["right"] * 6, "left"]), "\n")


def row(one: Planned, effect: float, task: Task, planned: list[Job]) -> list[str]:
    """Return a column's line; an effect is in points, so only columns in percent have its power."""
    if not one.parts:
        return [one.name, "–", str(one.seeds), *["–"] * 4, "unknown"]
    smallest, chance, needed, hours = one.smallest, "–", "–", "–"
    if one.unit.percent:
        if one.seeds >= power.SEEDS:
            chance = f"{100 * power.power(effect / 100, one.parts, one.seeds):.0f} %"
        seeds = power.seeds_needed(effect / 100, one.parts)
        needed = f"more than {power.MOST_SEEDS}" if seeds is None else str(seeds)
        hours = "–" if seeds is None else hours_for(seeds, one.datasets, task, planned)
    shown, items = "–" if smallest is None else one.text(smallest), sum(part.items for part in one.parts)
    return [one.name, f"{items:,}", str(one.seeds), shown, chance, needed, hours, one.basis]


def hours_for(seeds: int, datasets: list[str], task: Task, planned: Iterable[Job]) -> str:
    """Return the hours of the trained runs on these datasets with so many seeds, without trials; – if unknown."""
    runs = [run for run in trained(task) if run["dataset"] in datasets]
    names = {f"{task.name}/{run['dataset']}/{grid.run_name(run)}/seed{run['seed']}" for run in runs}
    jobs = [job for job in planned if job.run in names]
    found = gpu_hours.hours(*([job for job in jobs if job.needed == needed] for needed in (False, True)))
    device = "GPU" if any(job.gpus for job in jobs) else "CPU"
    left = [one.hours for one in found.estimates if (one.job.gpus > 0) == (device == "GPU")]
    if None in left or not names:
        return "–"
    total = sum(left) + (found.gpu if device == "GPU" else found.cpu)
    each = len({(run["dataset"], grid.run_name(run)) for run in runs})
    return hours_of(total / len(names) * each * seeds, device) if total else "–"


def columns(config: dict, task: Task) -> Iterator[Planned]:
    """Iterate over the columns of a task's table, averages last; without noise, a column has no parts."""
    found = noise(config, task)
    single = {column["name"]: column for column in grid.columns(config, task.name)}
    averages = grid.averages(config, task.name)
    for name, unit in task.table.units().items():
        members = [part for member in averages.get(name, [name]) for part in datasets(single[member])]
        parts = [found.get(part) for part in members]
        used = [dataset for _, dataset in members]
        known = None not in parts
        bases = dict.fromkeys(basis for _, basis in parts) if known else {}
        yield Planned(
            name, unit, used, seeds(task, used), [part for part, _ in parts] if known else [], " and ".join(bases),
        )  # fmt: skip


def datasets(column: dict) -> list[tuple[str, str]]:
    """Return the names in compare_{task}.csv and datasets of a column, which may be a mean over several datasets."""
    several = column.get("datasets")
    return [(f"{column['name']}: {one}", one) for one in several] if several else [(column["name"], column["dataset"])]


def trained(task: Task) -> list[dict]:
    return [run for run in task.runs() if methods.trains(task.config, grid.run_name(run))]


def seeds(task: Task, used: list[str]) -> int:
    """Return the number of seeds that most trained runs have on these datasets, the smallest of several; 0: none."""
    counts = Counter((run["dataset"], grid.run_name(run)) for run in trained(task) if run["dataset"] in used)
    return min(multimode(counts.values()), default=0)


def noise(config: dict, task: Task) -> dict[tuple[str, str], tuple[power.Column, str]]:
    """Return the noise of columns by their name in compare_{task}.csv and dataset, and where it is from."""
    measured, found, scales = finished(config, task), {}, task.table.units()
    complete = tasks.load(row_counts.complete(config))[task.name]
    for column in grid.columns(config, task.name):
        for name, dataset in datasets(column):
            if pairs := measured.get(name):
                found[name, dataset] = of_pairs(pairs, scales[column["name"]].scale), "finished runs"
            elif (one := stated(complete, column, dataset)) is not None:
                found[name, dataset] = one, "the stated noise"
    return found


def of_pairs(pairs: list[dict], factor: float) -> power.Column:
    """Return a column with the mean noise of these rows of compare_{task}.csv."""
    fixed = power.Noise(*(mean(float(pair[part]) for pair in pairs) / factor**2 for part in power.NOISE))
    return power.Column(int(pairs[0]["n_items"]), lambda _: fixed)


def stated(task: Task, column: dict, dataset: str) -> power.Column | None:
    """Return a column with the noise of `power` in the config, if its items are answers and their number is known."""
    entry, metric = task.config["power"], column["metric"]
    if entry["score"] is None or column["benchmark"] == TRAINING or not task.table.metric(metric).answers:
        return None
    items = task.cost.items(dataset, column["benchmark"])
    return power.stated(entry["score"] / 100, entry["deviation"] / 100, items) if items else None


def finished(config: dict, task: Task) -> dict[str, list[dict]]:
    """Return the rows of compare_{task}.csv with noise by column: pairs of trained runs of the grid, one selection."""
    path = Path(config["pathvars"]["results"], f"compare_{task.name}.csv")
    if not path.exists():
        return {}
    try:
        pairs = csv.DictReader(seals.read(path).splitlines())
    except JobError:  # edited, or older than its runs: it will be made again
        return {}
    found: dict[str, list[dict]] = {}
    names = {*map(grid.run_name, trained(task))}  # the file may be that of an earlier grid
    for pair in pairs:
        if not {pair["run_a"], pair["run_b"]} <= names:
            continue
        if pair["selection"] == task.selections[0] and pair.get(power.NOISE[0]):
            found.setdefault(pair["column"], []).append(pair)
    return found
