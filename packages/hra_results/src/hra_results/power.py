"""Print which differences between two runs the tables of a dry run's plan can show.

The noise is that of finished runs (compare_{task}.csv), or else stated. README.md of this package has the formulas.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, multimode

from hra_results import power_formulas as formulas
from hra_workflow import methods, tasks
from hra_workflow.core import grid
from hra_workflow.core.errors import expect
from hra_workflow.core.wording import hours_of
from hra_workflow.cost import estimates
from hra_workflow.report import column_units
from hra_workflow.report.comparison import NOISE, SEEDS, Noise
from hra_workflow.report.markdown_text import table
from hra_workflow.report.run_columns import TRAINING
from hra_workflow.tasks import columns as task_columns
from hra_workflow.tasks import work
from hra_workflow.tasks.base import Task

OF_RUN = ("task", "dataset", "method", "variant", "seed")  # wildcards


@dataclass(frozen=True)
class Planned:
    """A column of the table as the grid plans it; an average has several `datasets` and `parts`.

    seeds: the number that most trained runs have. basis: where the noise is from.
    """

    name: str
    unit: column_units.Unit
    datasets: list[str]
    seeds: int
    parts: list[formulas.Column]
    basis: str

    @property
    def smallest(self) -> float | None:
        found = formulas.smallest_difference(self.parts, self.seeds)
        return None if found is None else self.unit.scale * found

    def text(self, value: float) -> str:
        return f"{value:.2g}{' points' * self.unit.percent}"


def check(effect: float, score: float | None, deviation: float | None) -> None:
    """Raise JobError for options that no noise can have."""
    expect(effect > 0, f"--effect: expected a number above 0, found {effect:g}. Correct it.")
    expect(
        (score is None) == (deviation is None),
        "--score, --deviation: expected both or neither, found one. Add the other, as in --score 85 --deviation 1.5.",
    )
    if score is not None:
        expect(0 < score < 100, f"--score: expected a number between 0 and 100, found {score:g}. Correct it.")
        expect(deviation >= 0, f"--deviation: expected a number of at least 0, found {deviation:g}. Correct it.")


def run(plan: dict, effect: float, score: float | None, deviation: float | None) -> int:
    """Print the power of every column of the planned tables of tasks."""
    config, every = plan["config"], tasks.load(plan["config"])
    names = sorted({name for job in plan["jobs"] for name in job["tables"]})
    planned = [every[task] for name in names if (task := name.removeprefix("table_")) in every]
    expect(
        bool(planned),
        f"--table: expected the table of a task ({', '.join(every)}), found {', '.join(names) or 'none'}. Choose one.",
    )
    for task in planned:
        name = f"table_{task.name}"
        print(f"{name}: differences between two runs with p < 0.05, before Holm's correction (docs/statistics.md)")
        print(f"smallest difference, needed seeds: with a power of {100 * formulas.GOAL:.0f} %\n")
        jobs = [job for job in plan["jobs"] if name in job["tables"]]
        rows = [row(one, effect, task, jobs) for one in columns(config, task, score, deviation)]
        of_effect = [f"power for {effect:g} points", f"seeds for {effect:g} points"]
        heading = ["column", "items", "seeds", "smallest difference", *of_effect, "their hours", "noise"]
        print(table([heading, *rows], ["left", *["right"] * 6, "left"]), "\n")
    return 0


def row(one: Planned, effect: float, task: Task, jobs: list[dict]) -> list[str]:
    """Return a column's line; an effect is in points, so only columns in percent have its power."""
    if not one.parts:
        return [one.name, "–", str(one.seeds), *["–"] * 4, "unknown"]
    smallest, chance, needed, hours = one.smallest, "–", "–", "–"
    if one.unit.percent:
        if one.seeds >= SEEDS:
            chance = f"{100 * formulas.power(effect / 100, one.parts, one.seeds):.0f} %"
        seeds = formulas.seeds_needed(effect / 100, one.parts)
        needed = f"more than {formulas.MOST_SEEDS}" if seeds is None else str(seeds)
        hours = "–" if seeds is None else hours_for(seeds, one.datasets, task, jobs)
    shown, items = "–" if smallest is None else one.text(smallest), sum(part.items for part in one.parts)
    return [one.name, f"{items:,}", str(one.seeds), shown, chance, needed, hours, one.basis]


def hours_for(seeds: int, datasets: list[str], task: Task, jobs: list[dict]) -> str:
    """Return the hours of the trained runs on these datasets with so many seeds, without trials; – if unknown."""
    runs = [run for run in trained(task) if run["dataset"] in datasets]
    names = {(task.name, run["dataset"], run["method"], run["variant"], str(run["seed"])) for run in runs}
    own = [job for job in jobs if tuple(job["wildcards"].get(name) for name in OF_RUN) in names]
    device = "GPU" if any(job["gpus"] for job in own) else "CPU"
    left = [job["hours_left"] for job in own if (job["gpus"] > 0) == (device == "GPU")]
    if None in left or not names:
        return "–"
    total = sum(left) + sum(job[f"{device.lower()}_hours"] for job in own)
    each = len({(run["dataset"], grid.run_name(run)) for run in runs})
    return hours_of(total / len(names) * each * seeds, device) if total else "–"


def columns(config: dict, task: Task, score: float | None = None, deviation: float | None = None) -> Iterator[Planned]:
    """Iterate over the columns of a task's table, averages last; without noise, a column has no parts.

    score, deviation: the stated noise, in points.
    """
    found, units = noise(config, task, score, deviation), task_columns.units(task)
    for name, members in task_columns.parts(task).items():
        parts = [found.get(part["name"]) for part in members]
        used = [part["dataset"] for part in members]
        known = [] if None in parts else [part for part, _ in parts]
        bases = " and ".join(dict.fromkeys(basis for _, basis in parts) if known else ())
        yield Planned(name, units[name], used, seeds(task, used), known, bases)


def trained(task: Task) -> list[dict]:
    return [run for run in task.runs() if methods.trains(task.config, grid.run_name(run))]


def seeds(task: Task, used: list[str]) -> int:
    """Return the number of seeds that most trained runs have on these datasets, the smallest of several; 0: none."""
    counts = Counter((run["dataset"], grid.run_name(run)) for run in trained(task) if run["dataset"] in used)
    return min(multimode(counts.values()), default=0)


def noise(
    config: dict, task: Task, score: float | None, deviation: float | None
) -> dict[str, tuple[formulas.Column, str]]:
    """Return the noise of columns of one dataset by their name in compare_{task}.csv, and where it is from."""
    measured, found = finished(config, task), {}
    complete = tasks.load(estimates.with_rows(config))[task.name]
    for part in (part for several in task_columns.parts(task).values() for part in several):
        if pairs := measured.get(part["name"]):
            found[part["name"]] = of_pairs(pairs, part["scale"]), "finished runs"
        elif score is not None and (items := answered(complete, part)):
            found[part["name"]] = formulas.stated(score / 100, deviation / 100, items), "the stated noise"
    return found


def of_pairs(pairs: list[dict], factor: float) -> formulas.Column:
    """Return a column with the mean noise of these rows of compare_{task}.csv."""
    fixed = Noise(*(mean(float(pair[part]) for pair in pairs) / factor**2 for part in NOISE))
    return formulas.Column(int(pairs[0]["n_items"]), lambda _: fixed)


def answered(task: Task, column: dict) -> int | None:
    """Return the number of a column's items, if they are answers and their number is known."""
    if column["benchmark"] == TRAINING or not task.metric(column["metric"]).answers:
        return None
    return work.items_of(task, column["dataset"], column["benchmark"])


def finished(config: dict, task: Task) -> dict[str, list[dict]]:
    """Return the rows of compare_{task}.csv with noise by column: pairs of trained runs of the grid, one selection."""
    path = Path(config["pathvars"]["results"], f"compare_{task.name}.csv")
    if not path.exists():
        return {}
    found: dict[str, list[dict]] = {}
    names = {*map(grid.run_name, trained(task))}  # the file may be that of an earlier grid
    for pair in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        if not {pair["run_a"], pair["run_b"]} <= names:
            continue
        if pair["selection"] == task.selections[0] and pair.get(NOISE[0]):
            found.setdefault(pair["column"], []).append(pair)
    return found
