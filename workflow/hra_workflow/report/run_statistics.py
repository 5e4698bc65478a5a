"""Scores, means, deviations and published counterparts, from which tables, figures and costs select.

A column of the table is `{name, dataset, benchmark, metric}`; an average is a name and the columns that it averages. A
column with several `datasets` is an average, too (column_units.parts). Only `scores` applies the unit of a column.
"""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from hra_workflow.core.errors import JobError
from hra_workflow.report.run_columns import TRAINING

RUN = ["dataset", "method", "variant", "seed"]
NO_TRAINING = ["diverged", "outdated"]  # the status of runs whose time and memory are not those of a complete training
PUBLISHED = ["row", "method", "setting", "run", "params_M", "column", "metric", "value", "source"]


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read everything as text: a variant may be called `null`, a commit may look like a number."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def read_published(path: str | Path | None, *more: str) -> pd.DataFrame:
    """Read published values, if there is a file; raise JobError if a column of PUBLISHED or `more` is missing."""
    columns = [*PUBLISHED, *more]
    published = read_csv(path) if path else pd.DataFrame(columns=columns)
    if lost := set(columns) - set(published.columns):
        raise JobError(
            f"{path}: expected the columns {','.join(columns)}, found no {', '.join(sorted(lost))}. Correct the file."
        )
    return published


def read_runs(path: str | Path) -> pd.DataFrame:
    """Read the run table, with `run` = method/variant, and with numbers in the columns that tables and figures use."""
    runs = read_csv(path)
    for name in ["seed", "value", "adapter_parameters"]:
        runs[name] = pd.to_numeric(runs[name])
    return runs.assign(run=runs["method"] + "/" + runs["variant"])


def scores(runs: pd.DataFrame, parts: dict[str, list[dict]]) -> pd.DataFrame:
    """Return the tidy table of scores: one row per column or average, part of it, run, selection and seed.

    parts: those of column_units. `score` is in the unit of the column; NaN: evaluated without a value. The others are
    `column`, `part`, the number of `parts`, and the columns of the run table. Benchmark TRAINING has the costs of
    trained runs.
    """
    rows = [
        part | {"column": name, "part": part["name"], "parts": len(several)}
        for name, several in parts.items()
        for part in several
    ]
    names = ["column", "part", "parts", "dataset", "benchmark", "metric", "scale"]
    wanted = pd.DataFrame(rows, columns=names)
    done = runs[runs["status"] == "ok"]
    trainings = done.drop_duplicates(["dataset", "run", "selection", "seed"])
    costs = []
    for name in wanted.loc[wanted["benchmark"] == TRAINING, "metric"].unique():
        value = pd.to_numeric(trainings[name]).where(pd.to_numeric(trainings["trainable_parameters"]) > 0)
        costs.append(trainings.assign(benchmark=TRAINING, metric=name, value=value))
    every, keys = pd.concat([done, *costs]), ["run", "selection", "seed", "dataset", "benchmark"]
    found = every[keys].drop_duplicates().merge(wanted, on=["dataset", "benchmark"])
    found = found.merge(every, how="left", on=[*keys, "metric"])
    return found.assign(score=found["value"] * found["scale"])


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Compute mean, std (sample, n > 1) and n over seeds, indexed by (run, selection, column).

    The mean of an average is the mean of its parts' means (its n is the smallest of theirs), as the paper computes
    "All": a missing seed of one task does not discard the other tasks' seeds. Its std is over the seeds with all parts.
    """
    keys = ["run", "selection", "column"]
    groups = scores.dropna(subset="score").groupby([*keys, "parts", "part"])["score"].agg(["mean", "count"])
    groups = groups.groupby([*keys, "parts"]).agg(mean=("mean", "mean"), n=("count", "min"), found=("count", "size"))
    complete = groups.reset_index("parts").query("found == parts")
    seeds = scores.groupby([*keys, "parts", "seed"])["score"].agg(["mean", "count"]).reset_index("parts")
    return complete.assign(std=seeds.query("count == parts").groupby(keys)["mean"].std())[["mean", "std", "n"]]


def without_value(scores: pd.DataFrame) -> dict[str, set[str]]:
    """Return per column and average the runs whose evaluation has no value of a part.

    The metric does not apply to them (real images have no prompt fidelity), or no item could be scored (no face found).
    """
    counts, found = scores.groupby(["column", "run", "part"])["score"].count(), defaultdict(set)
    for name, run, _ in counts.index[counts == 0]:
        found[name].add(run)
    return found


def scale_free(name: str) -> str:
    """Strip the scale, `MRPC (acc/F1 mean)` -> `MRPC`, to get the paper's column."""
    return name.split(" (")[0]


def counterparts(published: pd.DataFrame, columns: list[dict], averages: dict[str, list[str]]) -> dict:
    """Map (row of the paper, our column) to the published value, if both have the same scale.

    Columns correspond if their names, without the scale, and their metrics are equal. An average corresponds if its
    columns are exactly those that the paper averaged, each on the same scale.
    """
    values, average_names = {}, {scale_free(name) for name in averages}
    for row, cells in published.groupby("row"):
        known, taken = cells.set_index("column")[["metric", "value"]].to_dict("index"), set()
        for column in columns:
            name = scale_free(column["name"])
            if name not in taken and known.get(name, {}).get("metric") == column["metric"]:
                values[row, column["name"]] = float(known[name]["value"])
                taken.add(name)  # MNLI (matched) corresponds, MNLI (mismatched) does not
        for average, members in averages.items():
            same = {scale_free(member) for member in members if (row, member) in values}
            if scale_free(average) in known and len(same) == len(members) and same == set(known) - average_names:
                values[row, average] = float(known[scale_free(average)]["value"])
    return values


def number(value: float | None, digits: int = 2) -> str:
    """Format a number with fixed digits; None and NaN become empty."""
    return "" if value is None or pd.isna(value) else f"{round(float(value), digits) + 0.0:.{digits}f}"


def signed(difference: str) -> str:
    """Format the sign: `-0.25` -> `−0.25`, `0.25` -> `+0.25`."""
    return difference.replace("-", "−") if difference.startswith("-") else f"+{difference}"


def source_of(params: dict) -> dict:
    """Return the source of the published numbers (tasks.outputs.published); the paper for a task without one."""
    return params.get("published") or {"label": "paper", "notes": [], "noise": {}, "first": False}


def readable(setting: str) -> str:
    """Format `r=8,lambda=inf` of the published file as `r=8, λ=∞`."""
    return setting.replace("lambda", "λ").replace("inf", "∞").replace(", ", ",").replace(",", ", ")
