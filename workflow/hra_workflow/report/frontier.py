"""Scatter plots of two quantities, with their Pareto frontier: the points that no other point beats in both."""

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.text import Text

from hra_workflow.report.plot_style import SMALL, dot, styles

SIGN = {"lower": 1, "higher": -1}
MEANING = "No run beats a named one in both values; a line joins several named runs."


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
    """Plot points and their frontier as a stepped line; return the handles for a legend.

    points: `x`, `y`, `label`, `color` and `marker` per row, and `x_std`, `y_std` for error bars. better: as in
    `frontier`.
    """
    ax.margins(0.15, 0.15)  # room for the names
    points = points.dropna(subset=["x", "y"])
    handles = [
        dot(ax, row["x"], row["y"], row["label"], row, row.get("x_std"), row.get("y_std"))
        for _, row in points.iterrows()
    ]
    best = points.loc[frontier(points["x"], points["y"], better)]
    ax.step(best["x"], best["y"], where="post", color="#999999", linewidth=1, zorder=1)
    return handles


def looks(points: pd.DataFrame, params: dict) -> pd.DataFrame:
    """Add the columns of `scatter` that show the `run` of each point. params: `labels` and `colours` of figures.py."""
    style = styles(list(params["labels"]), params["colours"])
    shown = pd.DataFrame([style[run] for run in points["run"]], points.index, columns=["color", "marker"])
    return points.assign(label=points["run"].map(params["labels"]), **shown)


def name(*panels: tuple) -> None:
    """Write the names of frontier points on the side of better values, where no other point can be.

    panels: the arguments of `scatter`, for each panel of a figure. Call it last, because limits and layout determine
    the positions of the names; an axis is extended if a name is outside of it.
    """
    placed = [(ax, place(ax, *points)) for ax, *points in panels]
    if any([make_room(ax, texts) for ax, texts in placed]):  # of all panels, since they may share an axis
        for text in (text for _, texts in placed for text in texts):
            text.remove()
        for panel in panels:
            place(*panel)


def make_room(ax, texts: list[Text]) -> bool:
    """Extend the y axis until these names are inside, and return whether it was extended.

    A name keeps its distance in pixels to its point, so the points get the height that the names do not need.
    """
    inside, (low, high) = ax.get_window_extent(), ax.get_ylim()
    factor_up = factor_down = 1.0
    for text in texts:
        box, point = text.get_window_extent(), ax.transData.transform((0, text.xy[1]))[1]
        if (over := box.y1 - inside.y1) > 0:
            factor_up = max(factor_up, (point - inside.y0) / max(point - inside.y0 - over, 1))
        if (under := inside.y0 - box.y0) > 0:
            factor_down = max(factor_down, (inside.y1 - point) / max(inside.y1 - point - under, 1))
    ax.set_ylim(high - (high - low) * factor_down, low + (high - low) * factor_up)
    return factor_up * factor_down > 1


def place(ax, points: pd.DataFrame, better: tuple[str, str]) -> list[Text]:
    points = points.dropna(subset=["x", "y"])
    best = points.loc[frontier(points["x"], points["y"], better)]
    ax.figure.draw_without_rendering()
    side, up = -SIGN[better[0]], -SIGN[better[1]]
    inside, point, taken, texts = ax.get_window_extent(), 72 / ax.figure.dpi, [], []
    for _, row in best.sort_values("y", ascending=up > 0).iterrows():
        text = ax.annotate(
            row["label"], (row["x"], row["y"]), (6 * side, 5 * up), textcoords="offset points", fontsize=SMALL,
            ha="left" if side > 0 else "right", va="bottom" if up > 0 else "top", color="#333333",
        )  # fmt: skip
        text.set_in_layout(False)
        box = text.get_window_extent()
        right = max(inside.x0 - box.x0, 0) - max(box.x1 - inside.x1, 0)
        text.xyann = (text.xyann[0] + right * point, text.xyann[1])
        for other in taken:
            box = text.get_window_extent()
            if box.overlaps(other):
                higher = other.y1 - box.y0 + 1 if up > 0 else other.y0 - box.y1 - 1
                text.xyann = (text.xyann[0], text.xyann[1] + higher * point)
        taken.append(text.get_window_extent())
        texts.append(text)
    return texts
