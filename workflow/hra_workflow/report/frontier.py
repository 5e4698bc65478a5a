"""Scatter plots of two quantities, with their Pareto frontier: the points that no other point beats in both.

The legend names the points, and a ring marks those of the frontier. Names next to them overlap where points are close;
adjustText 1.4 puts such names onto the points themselves.
"""

import pandas as pd
from matplotlib.lines import Line2D

from hra_workflow.report.plot_style import dot, styles

SIGN = {"lower": 1, "higher": -1}
MEANING = "No run beats one with a ring in both values; a line joins several of them."


def frontier(x: pd.Series, y: pd.Series, better: tuple[str, str]) -> list:
    """Return the index labels of the frontier, starting with the best x; of equal points, only the first.

    x, y: one value per point, with the same index; a point without both is not on the frontier. better: `lower` or
    `higher`, for x and for y.
    """
    costs = pd.DataFrame({"x": SIGN[better[0]] * x, "y": SIGN[better[1]] * y}).dropna()
    costs = costs.sort_values(["x", "y"], kind="stable")
    before = costs["y"].cummin().shift(fill_value=float("inf"))
    return list(costs.index[costs["y"] < before])


def scatter(ax, points: pd.DataFrame, better: tuple[str, str]) -> list[Line2D]:
    """Plot points, their frontier with rings and as a stepped line; return the handles for a legend.

    points: `x`, `y`, `label`, `color` and `marker` per row, and `x_std`, `y_std` for error bars. better: as in
    `frontier`.
    """
    ax.margins(0.15, 0.15)
    points = points.dropna(subset=["x", "y"])
    handles = [
        dot(ax, row["x"], row["y"], row["label"], row, row.get("x_std"), row.get("y_std"))
        for _, row in points.iterrows()
    ]
    best = points.loc[frontier(points["x"], points["y"], better)]
    ax.step(best["x"], best["y"], where="post", color="#999999", linewidth=1, zorder=1)
    ax.plot(best["x"], best["y"], "o", markersize=14, markerfacecolor="none", markeredgecolor="#333333")
    return handles


def looks(points: pd.DataFrame, params: dict) -> pd.DataFrame:
    """Add the columns of `scatter` that show the `run` of each point. params: `labels` and `colours` of figures.py."""
    style = styles(list(params["labels"]), params["colours"])
    shown = pd.DataFrame([style[run] for run in points["run"]], points.index, columns=["color", "marker"])
    return points.assign(label=points["run"].map(params["labels"]), **shown)
