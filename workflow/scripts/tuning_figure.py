"""Plot the trials of hyper-parameters: score on held-out rows against the learning rate, one curve per run.

If the search has other hyper-parameters, a point is the best trial over them. Trials without a score are crosses at the
bottom. The figure is written as SVG and PNG, reproducibly for the same data.
"""

import math
import textwrap

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from hra_workflow import tasks
from hra_workflow.core.job import script
from hra_workflow.report import run_statistics, tuning_results
from hra_workflow.report.plot_style import (
    CHARACTERS,
    SETTINGS,
    SMALL,
    WIDTH,
    better,
    footnote,
    legend,
    save,
    say,
    styles,
)

AXIS = "learning_rate"


def figure_of(trials: pd.DataFrame, params: dict) -> Figure:
    """Plot one panel per dataset."""
    labels, datasets = params["labels"], list(dict.fromkeys(trials["dataset"]))
    keys = tuning_results.values_of(trials)
    key = AXIS if AXIS in keys else keys[0]
    across = min(2, len(datasets))
    down = math.ceil(len(datasets) / across)
    figure = Figure(figsize=(WIDTH, 3 * down + 0.2), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flatten()
    style, shown = styles(list(labels), params["colours"]), {}
    for ax, dataset in zip(panels, datasets, strict=False):
        here = trials[trials["dataset"] == dataset]
        metrics = map(tasks.classes()[params["task"]].metric, filter(None, here["metric"]))
        title, wanted = next(((one.title, one.better) for one in metrics), ("score", "higher"))
        ax.set_title(textwrap.fill(dataset, CHARACTERS // across - 6), fontsize=SMALL, loc="left")
        ax.set(xlabel=key.replace("_", " "), ylabel=better(f"{title}\nheld-out rows", wanted))
        shown |= panel(ax, here, key, wanted, style, labels)
        if not here["score"].notna().any():
            say(ax, "no trial has a score")
    for ax in panels[len(datasets) :]:
        ax.set_axis_off()
    legend(figure, list(shown.values()), "lower")
    lost = trials[trials["score"].isna()]
    counts = lost.groupby("status", sort=False).size()
    if len(lost):
        of_status = ", ".join(f"{count} {name}" for name, count in counts.items())
        footnote(figure, [f"Crosses, without a score: {of_status}"])
    return figure


def panel(ax, trials: pd.DataFrame, key: str, wanted: str, style: dict, labels: dict) -> dict:
    """Plot the runs of one dataset; return the legend's handles by run."""
    handles = {}
    numeric = pd.to_numeric(trials[key], errors="coerce")
    numbers = numeric.notna().all()
    trials = trials.assign(x=numeric if numbers else trials[key])
    for run, label in labels.items():
        own = trials[trials["run"] == run]
        if own.empty:
            continue
        scores = own.groupby(["x", "trial"], sort=numbers)["score"].agg(lambda found: found.mean(skipna=False))
        line = getattr(scores.groupby("x", sort=numbers), "max" if wanted == "higher" else "min")()
        look = {name: style[run][name] for name in ("color", "linestyle", "marker")}
        (handles[run],) = ax.plot(line.index, line, markersize=4, linewidth=1.4, label=label, **look)
        chosen = own[own["chosen"] == "true"]
        if len(chosen):
            x = chosen["x"].iloc[0]
            ax.plot([x], [line[x]], marker=look["marker"], color=look["color"], markersize=9)
        lost = list(dict.fromkeys(own.loc[own["score"].isna(), "x"]))
        ax.plot(lost, [0.02] * len(lost), "x", color=look["color"], transform=ax.get_xaxis_transform())
    if numbers and (trials["x"] > 0).all():
        ax.set_xscale("log")
    return handles


@script
def main(job: dict) -> None:
    params, output = job["params"], job["output"]
    trials = run_statistics.read_csv(job["input"]["trials"])
    trials = trials.assign(run=trials["method"] + "/" + trials["variant"], score=pd.to_numeric(trials["score"]))
    with matplotlib.rc_context(SETTINGS | {"svg.hashsalt": params["task"]}):
        save(figure_of(trials, params), output["svg"], output["png"])


if __name__ == "__main__":
    main()
