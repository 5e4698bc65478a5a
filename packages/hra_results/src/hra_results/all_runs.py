"""The runs of a task for the report's table and plot: one row per run, and one per method variant and dataset.

Columns have the names of runs_{task}.csv; a score is `benchmark/metric`. Settings that differ between runs are columns
too. The page filters and sorts the rows, and finds the Pareto frontier of those that it shows.
"""

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass

import pandas as pd

from hra_workflow.core import made_from
from hra_workflow.report import run_statistics
from hra_workflow.report.run_columns import OF_TRAINING
from hra_workflow.report.run_columns import columns as of_run_table

RUN = run_statistics.RUN
OF_BENCHMARK = ("n_items", "eval_seconds", "backend", "serve")
# Of a row of the run table but not of a run, or replaced by columns of the page.
OF_ROW = ("task", "benchmark", "selection", "metric", "value", "stderr", "step", "status", "error")
# Costs of a run, of which lower values are better; those that depend on the device.
COSTS = (*OF_TRAINING, "adapter_parameters", "adapter_bytes")
ON_DEVICE = ("seconds", "device_seconds", "peak_memory_bytes")
SHOWN = ("seed", "status", "adapter_parameters", "device_seconds", "peak_memory_bytes")
SEVERAL = "several"  # the cell of a method variant whose seeds have different values
COLUMNS = of_run_table()  # type and meaning
CONVERT = {"string": str, "boolean": str, "integer": int, "number": float}
LOGARITHMIC = 5  # ratio of largest to smallest cost above which an axis is logarithmic


@dataclass(frozen=True)
class Column:
    """A column of the page: its cells by selection, or with the key "" for all selections.

    better: `lower`, `higher`, or empty if it is unknown or neither is better. kind: `score` or `cost`, whose cell of a
    method variant is the mean over seeds, or empty. on_device: whether it depends on the device of the training.
    """

    name: str
    meaning: str
    cells: dict[str, list]
    better: str = ""
    kind: str = ""
    on_device: bool = False
    shown: bool = False


def contents(name: str, facts: dict, runs: list[dict]) -> dict:
    """Return the page's data on a task. facts: of contents.json. runs: runs.describe of each run."""
    table = run_statistics.read_csv(facts["runs"]).reindex(columns=list(COLUMNS), fill_value="")
    every = [tuple(key) for key in table[RUN].drop_duplicates().itertuples(index=False)]
    complete = table.assign(one=~table["status"].isin(run_statistics.NO_TRAINING)).groupby(RUN, sort=False)["one"]
    trained = [f"{method}/{variant}" in facts["trained"] for _, method, variant, _ in every]
    labels = [facts["labels"][f"{method}/{variant}"] for _, method, variant, _ in every]
    columns = [
        Column("label", "method and variant", {"": labels}, shown=True),
        *of_runs(table, every),
        *scores(table, every, facts["better"]),
        *settings(every, runs),
    ]
    ok = [status == "ok" for one in columns if one.name == "status" for status in one.cells[""]]
    found = [one for one in facts["titles"] if one in set(table["selection"])]
    return {
        "name": name,
        "title": facts["title"],
        "datasets": list(facts["datasets"]),
        "selections": [[one, facts["titles"][one]] for one in found],
        "selection": next((one for one in (facts["selection"], *found) if one in found), ""),
        "logarithmic": LOGARITHMIC,
        "colours": list(facts["colours"].items()),
        "main": [
            [dataset, f"{benchmark}/{metric}"]
            for dataset, entry in facts["datasets"].items()
            for benchmark, metric in list(entry["scores"].items())[:1]
        ],
        "views": {
            "seed": view(columns, ok, trained),
            "mean": view(*over_seeds(columns, every, list(complete.any()), ok, trained)),
        },
    }


def of_runs(table: pd.DataFrame, every: list[tuple]) -> list[Column]:
    """Return the columns that have one value per run."""
    first = table.drop_duplicates(RUN)
    names = [name for name in COLUMNS if name not in (*OF_ROW, *OF_BENCHMARK)]
    found = [column(name, {"": cells(first[name], COLUMNS[name][0])}, COLUMNS[name][1]) for name in names]
    others = table[table["status"] != "ok"]
    where = others["benchmark"].where(others["benchmark"] == "", others["benchmark"] + ": ")
    errors = (where + others["error"]).str.removesuffix(": ")
    keys = pd.MultiIndex.from_frame(others[RUN])
    status = others["status"].set_axis(keys).groupby(level=RUN, sort=False).agg(joined).to_dict()
    reasons = errors.set_axis(keys).groupby(level=RUN, sort=False).agg(joined).to_dict()
    place = RUN.index("seed") + 1
    return [
        *found[:place],
        column("status", {"": [status.get(key, "ok") for key in every]}, COLUMNS["status"][1]),
        Column("error", COLUMNS["error"][1], {"": [reasons.get(key) or None for key in every]}, shown=bool(status)),
        *found[place:],
    ]


def column(name: str, content: dict[str, list], meaning: str) -> Column:
    cost = name in COSTS
    return Column(name, meaning, content, "lower" * cost, "cost" * cost, name in ON_DEVICE, shown=name in SHOWN)


def scores(table: pd.DataFrame, every: list[tuple], better: list[tuple[str, str, str]]) -> list[Column]:
    """Return the columns of each benchmark: its metrics with their standard errors, and the cost of the evaluation.

    better: benchmark, metric and direction of the config's columns. A metric without a column has the direction of the
    same metric on other benchmarks, if they agree.
    """
    exact = {(benchmark, metric): direction for benchmark, metric, direction in better}
    by_metric: dict[str, set] = {}
    for _, metric, direction in better:
        by_metric.setdefault(metric, set()).add(direction)
    found, extra = [], []
    for benchmark, part in table[table["status"] == "ok"].groupby("benchmark", sort=False):
        for metric, rows in part.groupby("metric", sort=False):
            directions, values, errors = by_metric.get(metric, set()), {}, {}
            for selection, one in rows.groupby("selection", sort=False):
                one = one.set_index(RUN).reindex(every, fill_value="")
                values[selection], errors[selection] = cells(one["value"], "number"), cells(one["stderr"], "number")
            direction = exact.get((benchmark, metric), next(iter(directions)) if len(directions) == 1 else "")
            name, meaning = f"{benchmark}/{metric}", f"{metric} on {benchmark}"
            found.append(Column(name, meaning, values, direction, "score", shown=True))
            extra.append(Column(f"{name}/stderr", COLUMNS["stderr"][1], errors))
        once = part.drop_duplicates(RUN).set_index(RUN).reindex(every, fill_value="")
        for name in OF_BENCHMARK:
            kind, meaning = COLUMNS[name]
            cost = name == "eval_seconds"
            content = {"": cells(once[name], kind)}
            extra.append(Column(f"{benchmark}/{name}", meaning, content, "lower" * cost, "cost" * cost, cost))
    return [*found, *extra]


def settings(every: list[tuple], runs: list[dict]) -> list[Column]:
    """Return the settings of methods and hyper-parameters that differ between the runs, from their records."""
    made = {tuple(str(run[name]) for name in RUN): of_record(run["record"]) for run in runs if run["record"]}
    names = dict.fromkeys(name for one in made.values() for name in one if name not in COLUMNS)
    found = []
    for name in names:
        content = [made.get(key, {}).get(name) for key in every]
        if len({str(made[key].get(name)) for key in every if key in made}) > 1:
            found.append(Column(name, "setting of the run", {"": content}))
    return found


def of_record(record: dict) -> dict[str, Hashable]:
    """Return the settings of a run's method and its hyper-parameters by name; a list becomes a text."""
    method = {
        key: value for key, value in record["made_from"]["settings"].get("method", {}).items() if key != "version"
    }
    named: dict[str, Hashable] = {}
    for name, value in made_from.flatten(record["hyperparameters"] | method).items():
        value = joined(map(str, value)) if isinstance(value, list) else value
        named.setdefault(name.removeprefix("peft."), str(value).lower() if isinstance(value, bool) else value)
    return named


def over_seeds(columns: list[Column], every: list[tuple], complete: list[bool], ok: list[bool], trained: list[bool]):
    """Return the columns, `ok` (one seed at least) and `trained` of the rows per dataset and method variant.

    A mean is over the runs whose training is `complete` and that have a value, as in the other tables.
    """
    groups: dict[tuple, list[int]] = {}
    for index, key in enumerate(every):
        groups.setdefault(key[:-1], []).append(index)
    found, members = [], list(groups.values())
    for one in columns:
        if one.name.endswith("/stderr"):
            continue
        if one.name == "seed":
            found.append(Column("seeds", "number of runs", {"": [len(group) for group in members]}, shown=True))
            continue
        merge = mean if one.kind else tally if one.name == "status" else common
        content = {
            selection: [
                merge([values[index] for index in group if complete[index] or not one.kind]) for group in members
            ]
            for selection, values in one.cells.items()
        }
        found.append(Column(**vars(one) | {"cells": content}))
    return found, [any(ok[i] for i in group) for group in members], [trained[group[0]] for group in members]


def mean(values: list) -> list | None:
    """Return mean, sample standard deviation (None for one value) and number of the known values; None without any."""
    known = pd.Series([value for value in values if value is not None], dtype=float)
    if known.empty:
        return None
    return [rounded(known.mean()), rounded(known.std()) if len(known) > 1 else None, len(known)]


def common(values: list) -> Hashable:
    known = list(dict.fromkeys(value for value in values if value is not None))
    return None if not known else known[0] if len(known) == 1 else SEVERAL


def tally(values: list[str]) -> str:
    """Return `ok`, or how many seeds have which status, if they differ."""
    counts = Counter(values)
    return values[0] if len(counts) == 1 else ", ".join(f"{count} {name}" for name, count in counts.items())


def rounded(value: float) -> float:
    """Round to the digits of the run table, but not to less than an integer."""
    return round(value) if abs(value) >= 1e5 or value == int(value) else float(f"{value:.6g}")


def cells(texts: pd.Series, kind: str) -> list:
    """Convert the texts of a column; an empty one or one that is not a finite number becomes None."""
    values = [CONVERT[kind](text) if text else None for text in texts]
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]


def joined(texts) -> str:
    return ", ".join(dict.fromkeys(texts))


def view(columns: list[Column], ok: list[bool], trained: list[bool]) -> dict:
    """Return the rows in the page's form, without columns that have no value in any of them."""
    known = [one for one in columns if any(value is not None for values in one.cells.values() for value in values)]
    packed = [vars(one) | {"cells": {key: pack(values) for key, values in one.cells.items()}} for one in known]
    stated = [{key: value for key, value in one.items() if value} for one in packed]
    return {"rows": len(ok), "columns": stated, "ok": ok, "trained": trained}


def pack(values: list) -> dict:
    """Store equal cells once: `of`, the different ones, and `at`, the index of each cell in it."""
    of = list(dict.fromkeys(tuple(one) if isinstance(one, list) else one for one in values))
    if len(of) == 1:
        return {"of": of, "at": []}  # the page repeats it
    if len(of) > len(values) / 2:
        return {"of": values, "at": None}
    places = {value: index for index, value in enumerate(of)}
    return {"of": of, "at": [places[tuple(one) if isinstance(one, list) else one] for one in values]}
