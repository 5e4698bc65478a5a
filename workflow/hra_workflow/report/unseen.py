"""Scores on the items of a benchmark that are not in the training set, from the predictions that evaluations keep.

They are computed with the metrics of the scores on all items (tasks.base.Task), so only the items differ. They are
missing for a metric of all items together, such as FID, if the items in the training set are unknown (data.leaks.Leak),
or if no other items remain.

leaked: (dataset, benchmark) -> data.leaks.Leak. kind: the tasks.base.Task of the task. In the table, the scores of a
column are in `{column}_unseen` and `{column}_unseen_std`.
"""

from collections.abc import Container, Iterable, Mapping

import numpy as np
import pandas as pd

from hra_workflow.core import predictions, records
from hra_workflow.report import column_units, run_statistics

ENDING = "_unseen"


def items_of(metrics: str, leak, kind, settings: dict) -> dict[tuple[str, str], np.ndarray]:
    """Return (selection, metric) -> the (k, n) values of the n unseen items from which the metric is computed.

    metrics: path of metrics.json. settings: of `kind.comparison()`.
    """
    found, values = records.read(metrics), {}
    lines = predictions.evaluated(metrics, found)
    known = leak.items is not None and len(lines) == leak.rows
    kept = [line for item, line in enumerate(lines) if item not in leak.items] if known else []
    for selection, chosen in found["selections"].items() if kept else ():
        for metric in chosen["metrics"]:
            if (items := kind.per_item(kept, selection, metric, settings)) is not None:
                values[selection, metric] = np.array(items, float).T
    return values


def score(values: np.ndarray, kind, metric: str) -> dict:
    """Return `value`, `stderr` (None for a single item) and `n` of a metric of `items_of`."""
    n, one = values.shape[1], kind.metric(metric)
    return {"value": one.function(*values), "stderr": one.standard_error(*values) if n > 1 else None, "n": n}


def add(table: pd.DataFrame, runs: pd.DataFrame, leaked: dict, kind, params: dict) -> pd.DataFrame:
    """Add the scores on unseen items to the table, for the columns and averages with a leaked benchmark."""
    names = leaked_columns(leaked, params)
    if not names:
        return table
    scores = run_statistics.scores(of_runs(runs, leaked, kind, params), column_units.parts(params))
    statistics, units = run_statistics.summary(scores).to_dict("index"), column_units.units(params)
    for name in names:
        cells = [statistics.get((row["run"], row["selection"], name), {}) for _, row in table.iterrows()]
        for column, statistic in ((f"{name}{ENDING}", "mean"), (f"{name}{ENDING}_std", "std")):
            table[column] = [run_statistics.number(cell.get(statistic), units[name].digits) for cell in cells]
    return table


def of_runs(runs: pd.DataFrame, leaked: dict, kind, params: dict) -> pd.DataFrame:
    """Return the run table with the scores on unseen items of the leaked benchmarks; NaN: missing."""
    done, value = runs[runs["status"] == "ok"], runs["value"].copy()
    for (dataset, benchmark), leak in leaked.items():
        here = done[(done["dataset"] == dataset) & (done["benchmark"] == benchmark)]
        for _, rows in here.groupby(["run", "seed"], sort=False):
            path = params["metrics"].format(**rows.iloc[0][["task", *run_statistics.RUN, "benchmark"]])
            found = items_of(path, leak, kind, params["settings"])
            for index, row in rows.iterrows():
                items = found.get((row["selection"], row["metric"]))
                value[index] = np.nan if items is None else kind.metric(row["metric"]).function(*items)
    return runs.assign(value=value)


def leaked_columns(leaked: dict, params: dict) -> dict[str, list]:
    """Return the leaks of each column and average that has any."""
    found = {
        name: [leaked[key] for part in several if (key := (part["dataset"], part["benchmark"])) in leaked]
        for name, several in column_units.parts(params).items()
    }
    return {name: leaks for name, leaks in found.items() if leaks}


def names(columns: Iterable[str], table: Container[str]) -> list[str]:
    """Return the columns of the table, each followed by the column of its scores on unseen items, if it has any."""
    return [name for column in columns for name in (column, f"{column}{ENDING}") if name in table]


def title(name: str) -> str:
    """Return the heading of a column of the table, `SST-2, unseen` for `SST-2_unseen`."""
    return f"{name.removesuffix(ENDING)}, unseen" if name.endswith(ENDING) else name


def text(row: Mapping[str, str], name: str) -> str:
    """Format `90.10 ± 0.20`, or `–` if it is missing."""
    return row[name] + (f" ± {row[f'{name}_std']}" if row[f"{name}_std"] else "") or "–"
