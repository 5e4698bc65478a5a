"""Runs that predict the same class for every item: their score is that class's fraction and shows no learning."""

import pandas as pd

from hra_workflow.core import predictions, records
from hra_workflow.report import column_units, run_statistics


def find(runs: pd.DataFrame, kind, params: dict) -> dict[tuple[str, str, str], str]:
    """Return (run, dataset, benchmark) -> `yes, 3 of 5 seeds` for the runs with a checkpoint that predicts one class.

    kind: the tasks.base.Task of the task. params: those of table.py.
    """
    found, classes, done = {}, params["settings"].get("labels", {}), runs[runs["status"] == "ok"]
    shown = column_units.single(params)
    for dataset, benchmark in dict.fromkeys((column["dataset"], column["benchmark"]) for column in shown):
        if not classes.get(dataset):
            continue  # a regression, or no classification
        here = done[(done["dataset"] == dataset) & (done["benchmark"] == benchmark)]
        for run, rows in here.groupby("run", sort=False):
            seeds = [of_seed(one, classes[dataset], kind, params) for _, one in rows.groupby("seed")]
            if names := " or ".join(sorted(set().union(*seeds))):
                found[run, dataset, benchmark] = f"{names}, {sum(map(bool, seeds))} of {len(seeds)} seeds"
    return found


def of_seed(rows: pd.DataFrame, classes: list[str], kind, params: dict) -> set[str]:
    """Return the classes that a checkpoint predicts for every item, if the items have several."""
    path = params["metrics"].format(**rows.iloc[0][["task", *run_statistics.RUN, "benchmark"]])
    lines, found = predictions.evaluated(path, records.read(path)), set()
    for selection in set(params["selections"]) & set(rows["selection"]):
        labels, predicted = map(set, zip(*kind.per_item(lines, selection, "", params["settings"]), strict=True))
        found |= {classes[one] for one in predicted if len(predicted) == 1 < len(labels)}
    return found
