"""Compare every pair of runs in every column of a task's table, from the predictions that the evaluations keep.

There is one row per column, selection and pair, in the table's units: the difference run_a − run_b over their common
seeds, its 95 % interval (t, over seeds and items, report/comparison.py), p, p adjusted for the number of pairs in the
column (Holm), and the adjusted p that they differ by less than a point. p is empty for pairs with too few common seeds,
and the last p also for a column that is not in percent. A metric of all items together, such as FID, has no rows.
The last columns are the variances from which the power of a study is computed (docs/statistics.md).
"""

import math
from dataclasses import astuple
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from hra_workflow import tasks
from hra_workflow.core import files, predictions, records
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import script
from hra_workflow.report import column_units, comparison, run_statistics

COLUMNS = [
    "column", "selection", "run_a", "run_b", "difference", "low", "high", "p", "p_holm", "p_equivalent", "n_items",
    "n_seeds", *comparison.NOISE,
]  # fmt: skip
ROW = ["dataset", "benchmark", "selection", "metric", "run", "seed"]


def read(evaluations: list[dict], done: dict[tuple, float], dataset: str, benchmark: str) -> list[tuple]:
    """Read the predictions on a benchmark of every run and seed in the run table. done: its values by ROW."""
    known, found = {(*key[:2], *key[4:]) for key in done}, []
    for one in evaluations:
        run, seed, path = f"{one['method']}/{one['variant']}", one["seed"], Path(one["path"])
        if (one["dataset"], one["benchmark"]) == (dataset, benchmark) and (dataset, benchmark, run, seed) in known:
            metrics = path.with_name("metrics.json")
            found.append((run, seed, path, predictions.evaluated(metrics, records.read(metrics))))
    return found


def differences(evaluated: list[tuple], done: dict, column: dict, selection: str, params: dict) -> dict | None:
    """Compare all pairs of runs in one column; None if its metric is not computed from items."""
    task, metric = tasks.classes()[params["task"]], column["metric"]
    scored: comparison.Scored = {}
    for run, seed, path, lines in evaluated:
        values = task.per_item(lines, selection, metric, params["settings"])
        stated = done.get((column["dataset"], column["benchmark"], selection, metric, run, seed))
        if values is None or stated is None:
            continue
        scored.setdefault(run, {})[seed] = np.array(values, float)
        value = task.metric(metric).function(*scored[run][seed].T)
        if not math.isclose(value, stated, rel_tol=1e-3, abs_tol=1e-3):
            raise JobError(
                f"{path}: expected {metric} = {stated:.4g} as in the run table, found {value:.4g}. Delete "
                "the file and the metrics.json in its folder, and run again."
            )
    return comparison.differences(comparison.estimate(scored, task.metric(metric).function)) if scored else None


def build(runs: pd.DataFrame, params: dict) -> pd.DataFrame:
    """Build the table of pairs."""
    parts, single = column_units.parts(params), column_units.single(params)
    done = runs[runs["status"] == "ok"].set_index(ROW)["value"].to_dict()
    compared: dict[tuple[str, str], dict | None] = {}
    for dataset, benchmark in dict.fromkeys((column["dataset"], column["benchmark"]) for column in single):
        # One benchmark at a time: QQP has 40,430 items.
        evaluated = read(params["evaluations"], done, dataset, benchmark)
        own = [column for column in single if (column["dataset"], column["benchmark"]) == (dataset, benchmark)]
        for column, selection in product(own, params["selections"]):
            compared[selection, column["name"]] = differences(evaluated, done, column, selection, params)
    rows = []
    for selection, (name, unit) in product(params["selections"], column_units.units(params).items()):
        several, scale = [compared[selection, part["name"]] for part in parts[name]], unit.scale
        averaged = comparison.average(several) if all(several) else {}
        pairs = compared.get((selection, name), averaged) or {}
        margin = comparison.MARGIN / scale if unit.percent else math.nan
        adjusted = comparison.holm([one.p for one in pairs.values()])
        equivalent = comparison.holm([one.p_equivalent(margin) for one in pairs.values()])
        for ((first, second), one), *p in zip(pairs.items(), adjusted, equivalent, strict=True):
            numbers = [number(scale * value, 6) for value in (one.value, *one.interval)]
            numbers += [number(value, 3) for value in (one.p, *p)]
            noise = [number(scale**2 * part, 6) for part in astuple(one.noise)] if one.noise else [""] * 3
            rows.append([name, selection, first, second, *numbers, one.items, one.seeds, *noise])
    return pd.DataFrame(rows, columns=COLUMNS)


def number(value: float, digits: int) -> str:
    """Format a number with significant digits; NaN becomes empty."""
    return "" if math.isnan(value) else f"{value:.{digits}g}"


@script
def main(job: dict) -> None:
    runs = run_statistics.read_runs(job["input"]["runs"])
    table = build(runs, job["params"])
    files.write_text(job["output"]["csv"], table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    main()
