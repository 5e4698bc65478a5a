"""Curves during training: scores on a benchmark, or the loss, as a mean over seeds with its spread."""

import math
import textwrap

import pandas as pd
from matplotlib.figure import Figure

from hra_workflow.report.plot_style import CHARACTERS, SMALL, WIDTH, legend, say, styles, widen
from hra_workflow.report.run_statistics import scale_free

LOSS = "loss"
SMOOTHED, SHARE = 40, 15  # a loss with at least 40 points is averaged over a 15th of them
LONG = 6  # minimum of points of a curve whose second half determines the limits


def figure(points: pd.DataFrame, params: dict, kind) -> Figure:
    """Plot one panel per dataset with one line per run: mean over seeds, with a band of one std.

    points: those of run_statistics.curves. params: `columns`, `labels` and `colours` of figures.py. kind: the
    tasks.base.Task of the task.
    """
    labels = params["labels"]
    titles = {column["dataset"]: scale_free(column["name"]) for column in reversed(params["columns"])}
    datasets = list(dict.fromkeys(column["dataset"] for column in params["columns"]))
    style = styles(list(labels), params["colours"])
    across = min(2, len(datasets))
    down = math.ceil(len(datasets) / across)
    drawn = Figure(figsize=(WIDTH, (3 if across == 1 else 2.2) * down + 0.2), layout="constrained")
    panels = drawn.subplots(down, across, squeeze=False).flatten()
    shown = {}
    for ax, dataset in zip(panels, datasets, strict=False):
        here = points[points["dataset"] == dataset]
        scores = ", ".join(kind.metric(score).title for score in here["score"].unique())
        scores += " on held-out rows" * bool(here["held_out"].any())
        alone = "training loss" if len(datasets) == 1 else f"{dataset}: training loss"
        title = alone if scores == LOSS else f"{titles[dataset]}: {scores}, %" if scores else titles[dataset]
        ax.set_title(textwrap.fill(title, CHARACTERS // across - 6), fontsize=SMALL, loc="left")
        found = {run: over_seeds(of_run) for run, of_run in here.groupby("run", sort=False)}
        for run in labels:
            if run in found:
                shown[run] = line(ax, found[run], labels[run], style[run])
        if found:
            limits(ax, list(found.values()), scores == LOSS)
        else:
            say(ax, "no run yet")
    for ax in panels[len(datasets) :]:
        ax.set_axis_off()
    handles = [shown[run] for run in labels if run in shown]
    if len(panels) > len(datasets):  # an empty panel has room for the legend
        drawn.supxlabel("epoch", fontsize=10)
        panels[-1].legend(handles=handles, loc="center", fontsize=SMALL)
        return drawn
    for ax in panels[-across:]:
        ax.set_xlabel("epoch")
    legend(drawn, handles, "lower")
    return drawn


def over_seeds(points: pd.DataFrame) -> pd.DataFrame:
    """Return `epoch`, `raw` (mean over seeds), `mean` and `std` (of the smoothed values) per step, for one run.

    A noisy loss is averaged over adjacent steps. Steps that not all seeds have reached are excluded, since a mean over
    fewer seeds would jump.
    """
    parts = []
    for _, seed in points.sort_values("step").groupby("seed"):
        window = len(seed) // SHARE if (seed["score"] == LOSS).all() and len(seed) >= SMOOTHED else 1
        smooth = seed["value"].rolling(window, center=True, min_periods=1).mean()
        parts.append(seed.assign(smooth=smooth))
    steps = pd.concat(parts).groupby("step")
    smooth = {"mean": ("smooth", "mean"), "std": ("smooth", "std")}
    found = steps.agg(epoch=("epoch", "mean"), raw=("value", "mean"), n=("seed", "size"), **smooth)
    return found[found["n"] == found["n"].max()].fillna({"std": 0})


def line(ax, found: pd.DataFrame, label: str, style: dict):
    """Plot one run; return its handle."""
    look = {"color": style["color"], "linestyle": style["linestyle"]}
    if not found["raw"].equals(found["mean"]):
        ax.plot(found["epoch"], found["raw"], color=style["color"], linewidth=0.8, alpha=0.2)
    single = {"marker": style["marker"]} if len(found) == 1 else {}
    (handle,) = ax.plot(found["epoch"], found["mean"], linewidth=1.4, label=label, **look, **single)
    low, high = found["mean"] - found["std"], found["mean"] + found["std"]
    ax.fill_between(found["epoch"], low, high, color=style["color"], alpha=0.15, linewidth=0)
    return handle


def limits(ax, lines: list[pd.DataFrame], loss: bool) -> None:
    """Limit the y axis to the smoothed losses without their highest peaks, or to the second half of scores.

    The first of many scores are far below the final ones, which the figure should show.
    """
    levels = []
    for found in lines:
        late = found if loss or len(found) < LONG else found.iloc[len(found) // 2 :]
        levels += [(late["mean"] - late["std"]).min(), (found["mean"] + found["std"]).max()]
        levels += [*found["raw"].quantile([0.02, 0.98])] if loss else []
    margin = 0.05 * (max(levels) - min(levels)) or 1e-6
    ax.set_ylim(min(levels) - margin, max(levels) + margin)
    widen(ax, 1 if loss else 100)
