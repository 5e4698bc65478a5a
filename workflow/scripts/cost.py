"""Write the costs (parameters, bytes, time, memory, money) and scores of the trained runs, from the run table.

There is one row per column of the table and run. A cost is the mean over the same runs, datasets and seeds as the
score; device hours and price of a tuned run include those of its trials. An unknown cost is empty.
"""

import math

import pandas as pd

from hra_workflow.core import files
from hra_workflow.core.job import script
from hra_workflow.report import column_units, markdown_text, run_statistics

COSTS = ["adapter_parameters", "adapter_bytes", "seconds", "training_hours", "peak_memory_bytes"]
TOTALS = ["tuning_hours", "device_hours", "price"]
COLUMNS = ["column", "selection", "run", "score", "score_std", "n_seeds", *COSTS, *TOTALS]
HEADINGS = {  # column -> heading, factor, decimals; None: the number that its smallest value needs
    "adapter_parameters": ("Parameters (M)", 1e-6, 3),
    "adapter_bytes": ("Adapter (MB)", 1e-6, 2),
    "seconds": ("Training (s)", 1, 0),
    "tuning_hours": ("Tuning (device hours)", 1, None),
    "device_hours": ("Device hours", 1, None),
    "price": ("Price", 1, None),
    "peak_memory_bytes": ("Peak memory (GB)", 1e-9, 2),
}
OPTIONAL = ("tuning_hours", "price")  # not in the Markdown table if no run has any


def tuning_hours(path: str | None) -> pd.Series:
    """Add up the device hours of all trials by (dataset, run); return none for a task without tuning."""
    if not path:
        return pd.Series(dtype=float)
    trials = run_statistics.read_csv(path)
    run = (trials["method"] + "/" + trials["variant"]).rename("run")
    hours = pd.to_numeric(trials["device_seconds"]).div(3600)
    return hours.groupby([trials["dataset"], run]).sum()  # a trial without a training adds none


def build(runs: pd.DataFrame, tuning: pd.Series, params: dict) -> pd.DataFrame:
    """Build one row per column or average of the table and trained run with a score in it."""
    selection = params["selections"][0]
    scores = run_statistics.scores(runs, column_units.parts(params))
    scores = scores[scores["selection"] == selection].dropna(subset="score")
    statistics = run_statistics.summary(scores)
    made = scores.drop_duplicates(["column", "dataset", "run", "seed"])
    costs = made.reindex(columns=[*COSTS, "device_seconds"]).apply(pd.to_numeric).astype(float)
    costs["training_hours"] = costs.pop("device_seconds") / 3600
    keys = pd.MultiIndex.from_frame(made[["dataset", "run"]])
    costs["tuning_hours"] = tuning.reindex(keys, fill_value=0.0).to_numpy()
    costs["device_hours"] = costs["training_hours"] + costs["tuning_hours"]
    on_gpu = ~made["device"].str.startswith("CPU")
    costs["price"] = costs["device_hours"].where(on_gpu) * (params.get("price") or {}).get("gpu_hour", math.nan)
    means = costs.groupby([made["run"], made["column"]]).agg(lambda values: values.mean(skipna=False))
    rows = []
    for name in column_units.units(params):
        for run in params["trained"]:
            if (run, selection, name) in statistics.index:
                score = statistics.loc[run, selection, name]
                about = {"column": name, "selection": selection, "run": run, "n_seeds": f"{score['n']:.0f}"}
                scored = about | {"score": score["mean"], "score_std": score["std"]}
                rows.append(scored | means.loc[run, name].to_dict())
    return pd.DataFrame(rows, columns=COLUMNS).dropna(subset="score")


def markdown(table: pd.DataFrame, params: dict) -> str:
    """Write one table per set of shown columns with equal costs, that is, on the same datasets."""
    parts, groups = [], {}
    for name in params["shown"]:
        part = table[table["column"] == name].set_index("run")
        if len(part):
            groups.setdefault(part[list(HEADINGS)].to_json(), {})[name] = part
    shown = {name: one for name, one in HEADINGS.items() if name not in OPTIONAL or table[name].fillna(0).any()}
    price = params.get("price") or {}
    headings = shown | ({"price": (f"Price ({price['currency']})", *HEADINGS["price"][1:])} if "price" in shown else {})
    units = column_units.units(params)
    for columns in groups.values():
        first = next(iter(columns.values()))
        lines = [["Method", *(f"{name} {units[name].arrow}" for name in columns)]]
        lines[0] += [f"{heading} ↓" for heading, *_ in headings.values()]
        costs = {name: fixed(first[name] * factor, decimals) for name, (_, factor, decimals) in headings.items()}
        for index, run in enumerate(first.index):
            scores = [score_cell(part.loc[run], units[name].digits) for name, part in columns.items()]
            lines.append([params["labels"][run], *scores, *(texts[index] for texts in costs.values())])
        parts.append(markdown_text.table(lines, ["left"] + ["right"] * (len(lines[0]) - 1)))
    notes = [
        "Scores as in the main table: mean ± std over seeds. Costs are means over its runs: datasets and seeds.",
        "Device hours: training time × devices, divided by the number of runs that shared a device"
        f"{', and the trials of tuning' * ('tuning_hours' in headings)}. Not those of evaluation.",
        *(f"Price: {price['gpu_hour']:g} {price['currency']} per GPU-hour." for name in headings if name == "price"),
        "Peak memory: 1 GB = 1e9 bytes, of the first device (on a CPU, of the process). Time and memory compare only "
        "on the same device and for equal micro-batches (run table).",
    ]
    listed = "\n".join(f"- {line}" for line in notes)
    tables = "\n\n".join(parts) or "No trained run has a score yet."
    return f"# Cost: {params['task']}\n\n{tables}\n\n## Notes\n\n{listed}\n"


def score_cell(row: pd.Series, digits: int) -> str:
    spread = "" if pd.isna(row["score_std"]) else f" ± {row['score_std']:.{digits}f}"
    return f"{row['score']:.{digits}f}{spread}"


def fixed(values: pd.Series, decimals: int | None) -> list[str]:
    """Format a column with equal decimals; by default, two digits of the smallest value, at most six decimals."""
    if decimals is None:
        positive = values[values > 0]
        decimals = min(6, max(0, 1 - math.floor(math.log10(positive.min())))) if len(positive) else 0
    return ["–" if pd.isna(value) else f"{value:.{decimals}f}" for value in values]


def number(value: float) -> str:
    """Format a number with six digits, bytes and parameters as integers."""
    return f"{value:.0f}" if value >= 1e5 else f"{value:.6g}"


@script
def main(job: dict) -> None:
    params, runs, tuning = job["params"], job["input"]["runs"], job["input"].get("tuning") or None
    table = build(run_statistics.read_runs(runs), tuning_hours(tuning), params)
    text = table.to_csv(index=False, lineterminator="\n", float_format=number)
    files.write_text(job["output"]["csv"], text)
    files.write_text(job["output"]["markdown"], markdown(table, params))


if __name__ == "__main__":
    main()
