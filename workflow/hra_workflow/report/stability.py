"""Score against retention: learning and forgetting of the trained weights."""

import pandas as pd
from matplotlib.figure import Figure

from hra_workflow.report import column_units, frontier, run_statistics
from hra_workflow.report.plot_style import WIDTH, better, footnote, legend, say

LAST = "last"  # the selection that is shown


def figure(runs: pd.DataFrame, params: dict) -> Figure:
    """Plot retention against every column of `params["parameters"]`.

    runs: of run_statistics.read_runs. params: those of figures.py, with `remarks`, and `retention` with its
    `benchmark`, `metric`, `label` and `better`.
    """
    names, retention = params["parameters"], params["retention"]
    drawn = Figure(figsize=(WIDTH, 4 * len(names)), layout="constrained")
    parts, units, order = column_units.parts(params), column_units.units(params), list(params["labels"])
    statistics = run_statistics.summary(run_statistics.scores(runs, parts)).xs(LAST, level="selection")
    scores = statistics[["mean", "std"]].set_axis(["y", "y_std"], axis=1).reset_index()
    handles = {}
    for ax, name in zip(drawn.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        ax.set(xlabel=better(retention["label"], retention["better"], "x"), ylabel=better(*units[name].axis(name)))
        kept = retained(runs, retention, {part["dataset"] for part in parts[name]})
        found = scores[scores["column"] == name].merge(kept, on="run").dropna(subset=["x", "y"]).set_index("run")
        points = frontier.looks(found.reindex([run for run in order if run in found.index]).reset_index(), params)
        if points.empty:
            say(ax, f"No run has both retention and\n“{name}” yet")
            continue
        wanted = (retention["better"], units[name].better)
        handles |= {one.get_label(): one for one in frontier.scatter(ax, points, wanted)}
    legend(drawn, list(handles.values()))
    footnote(drawn, [frontier.MEANING, "Mean ± std over seeds, weights after the last step.", *params["remarks"]])
    return drawn


def retained(runs: pd.DataFrame, retention: dict, datasets: set[str]) -> pd.DataFrame:
    """Return `x` and `x_std` over seeds by `run`: the mean over these datasets."""
    found = runs[(runs["benchmark"] == retention["benchmark"]) & (runs["metric"] == retention["metric"])]
    found = found[found["status"] == "ok"]
    found = found[found["dataset"].isin(datasets)]
    seeds = found.groupby(["run", "seed"])["value"].mean()
    table = seeds.groupby("run").agg(["mean", "std"]).reset_index()
    return table.rename(columns={"mean": "x", "std": "x_std"})
