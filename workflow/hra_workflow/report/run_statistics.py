"""Means, deviations and published counterparts from the run table, shared by the results table and the figures.

A column of the table is `{name, dataset, benchmark, metric}`; an average is a name and the columns that it averages. A
column with several `datasets` is an average too (`expand_columns`). Scores are in percent, or unscaled with scale 1.
"""

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


def expand_columns(columns: list[dict], averages: dict[str, list[str]]) -> tuple[list[dict], dict[str, list[str]]]:
    """Split columns with several datasets into one column per dataset, and return them as averages as well."""
    single, wide = [], {}
    for column in columns:
        parts = [column | {"name": f"{column['name']}: {name}", "dataset": name} for name in column.get("datasets", [])]
        single += parts or [column]
        wide |= {column["name"]: [part["name"] for part in parts]} if parts else {}
    rest = {
        name: [part for member in members for part in wide.get(member, [member])] for name, members in averages.items()
    }
    return single, wide | rest


def scores(runs: pd.DataFrame, columns: list[dict], averages: dict[str, list[str]], scale: float = 100) -> pd.DataFrame:
    """Collect scores per run, selection, seed and column; an average exists only for seeds with all of its columns.

    `scale`: factor applied to the scores, unless the column has its own.
    """
    parts = []
    for column in columns:
        part = of_column(runs, column)
        parts.append(part.assign(column=column["name"], value=part["value"] * column.get("scale", scale)))
    single = pd.concat(parts, ignore_index=True)
    for name, members in averages.items():
        groups = single[single["column"].isin(members)].groupby(["run", "selection", "seed"])["value"]
        complete = groups.mean()[groups.count() == len(members)].reset_index()
        parts.append(complete.assign(column=name))
    return pd.concat(parts, ignore_index=True)


def of_column(runs: pd.DataFrame, column: dict) -> pd.DataFrame:
    """Select `run`, `selection`, `seed` and `value` of a column; benchmark TRAINING has the cost of the training runs.

    `minus`: a run whose mean is subtracted; if it has no mean, no run has a value.
    """
    here = runs[(runs["status"] == "ok") & (runs["dataset"] == column["dataset"])]
    if column["benchmark"] == TRAINING:
        trained = pd.to_numeric(here["trainable_parameters"]) > 0
        part = here[trained].drop_duplicates(["run", "selection", "seed"])
        part = part.assign(value=pd.to_numeric(part[column["metric"]]))
    else:
        part = here[(here["benchmark"] == column["benchmark"]) & (here["metric"] == column["metric"])]
    part = part[["run", "selection", "seed", "value"]]
    if "minus" in column:
        part = part.assign(value=part["value"] - part.loc[part["run"] == column["minus"], "value"].mean())
    return part.dropna()


def summary(values: pd.DataFrame, averages: dict[str, list[str]]) -> pd.DataFrame:
    """Compute mean, std (sample, n > 1) and n over seeds, indexed by (run, selection, column).

    The mean of an average is the mean of its columns' means (its n is the smallest of theirs), as the paper computes
    "All": a missing seed of one task does not discard the other tasks' seeds. Its std is over the seeds with all
    columns.
    """
    table = values.groupby(["run", "selection", "column"])["value"].agg(["mean", "std", "count"])
    table = table.rename(columns={"count": "n"})
    for name, members in averages.items():
        single = table[table.index.get_level_values("column").isin(members)]
        groups = single.groupby(["run", "selection"])
        average = groups.agg({"mean": "mean", "n": "min"})[groups.size() == len(members)]
        deviation = table["std"][table.index.get_level_values("column") == name].droplevel("column")
        average = average.assign(std=deviation.reindex(average.index), column=name)
        table = table.drop(index=name, level="column", errors="ignore")
        table = pd.concat([table, average.set_index("column", append=True)[["mean", "std", "n"]]])
    return table


def without_value(runs: pd.DataFrame, columns: list[dict], averages: dict[str, list[str]]) -> dict[str, set[str]]:
    """Return per column and average (`expand_columns`) the runs whose evaluation has no value of it.

    The metric does not apply to them (real images have no prompt fidelity), or no item could be scored (no face found).
    """
    found, done = {}, runs[runs["status"] == "ok"]
    for column in columns:
        here = done[done["dataset"] == column["dataset"]]
        here = here[here["benchmark"].eq(column["benchmark"]) | (column["benchmark"] == TRAINING)]
        found[column["name"]] = set(here["run"]) - set(of_column(done, column)["run"])
    return found | {name: set().union(*(found[member] for member in members)) for name, members in averages.items()}


def curves(records: list[dict]) -> pd.DataFrame:
    """Build one row per run, seed and point of the curve: the score in percent, or the training loss.

    `held_out`: whether the score is on held-out training rows.
    """
    rows = [
        {
            "dataset": record["dataset"],
            "run": f"{record['method']}/{record['variant']}",
            "seed": record["seed"],
            "score": record["score"],
            "held_out": on_held_out_rows(record),
            "step": point["step"],
            "epoch": point["epoch"],
            # A loss is not a percentage.
            "value": point["metrics"][record["score"]] * (1 if record["score"] == "loss" else 100),
        }
        for record in records
        for point in record.get("curve", [])  # a diverged run has none
        if record["score"] in point["metrics"]
    ]
    return pd.DataFrame(rows, columns=["dataset", "run", "seed", "score", "held_out", "step", "epoch", "value"])


def on_held_out_rows(record: dict) -> bool:
    """Return whether the curve of a run is a score on held-out training rows; a loss is the training loss."""
    return "held_out" in record and record["score"] != "loss"


def scale_free(name: str) -> str:
    """Strip the scale, `MRPC (acc/F1 mean)` -> `MRPC`, to get the paper's column."""
    return name.split(" (")[0]


def counterparts(published: pd.DataFrame, columns: list[dict], averages: dict[str, list[str]]) -> dict:
    """Map (row of the paper, our column) to the published value, if both have the same scale.

    Columns correspond if their names, without the scale, and their metrics are equal. An average corresponds if its
    columns are exactly those that the paper averaged, each on the same scale.
    """
    values = {}
    average_names = {scale_free(name) for name in averages}
    for row, cells in published.groupby("row"):
        cells = cells.set_index("column")
        taken = set()
        for column in columns:
            name = scale_free(column["name"])
            if name in cells.index and name not in taken and cells.loc[name, "metric"] == column["metric"]:
                values[row, column["name"]] = float(cells.loc[name, "value"])
                taken.add(name)  # MNLI (matched) corresponds, MNLI (mismatched) does not
        in_paper = set(cells.index) - average_names
        for average, members in averages.items():
            name = scale_free(average)
            same = {scale_free(member) for member in members if (row, member) in values}
            if name in cells.index and len(same) == len(members) and same == in_paper:
                values[row, average] = float(cells.loc[name, "value"])
    return values


def alike(table: pd.DataFrame, selection: str) -> list[str]:
    """Return the selections of the results table, in order, in which all our values equal those of `selection`."""

    def values(one: str) -> pd.DataFrame:
        names = [name for name in table.columns if f"{name}_best" in table.columns or name == "params_M"]
        own = table[(table["selection"] == one) & (table["run"] != "")].set_index("run")
        return own[[column for name in names for column in (name, f"{name}_std") if column in table.columns]]

    return [one for one in dict.fromkeys(table["selection"]) if values(one).equals(values(selection))]


def number(value: float | None, digits: int = 2) -> str:
    """Format a number with fixed digits; None and NaN become empty."""
    return "" if value is None or pd.isna(value) else f"{round(float(value), digits) + 0.0:.{digits}f}"


def source_of(params: dict) -> dict:
    """Return the source of the published numbers (tasks.outputs.published); the paper for a task without one."""
    return params.get("published") or {"label": "paper", "notes": [], "noise": {}, "first": False}


def readable(setting: str) -> str:
    """Format `r=8,lambda=inf` of the published file as `r=8, λ=∞`."""
    return setting.replace("lambda", "λ").replace("inf", "∞").replace(", ", ",").replace(",", ", ")
