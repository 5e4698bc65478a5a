"""Score against cost: panels per column, with the frontier: no other run has better values in both."""

import pandas as pd
from matplotlib.figure import Figure

from hra_workflow.report import column_units, frontier
from hra_workflow.report.plot_style import WIDTH, better, footnote, legend, logarithmic, say, widen
from hra_workflow.report.run_columns import LOGARITHMIC


def figure(costs: pd.DataFrame, params: dict) -> Figure:
    """Plot device time and peak memory against every column of `params["parameters"]`.

    costs: the table of cost.py as text. params: those of figures.py, with `remarks`.
    """
    names, units = params["parameters"], column_units.units(params)
    numbers = costs.drop(columns=["column", "selection", "run"]).apply(pd.to_numeric).astype(float)
    hours, unit = in_unit(numbers["device_hours"])
    tuned = ", tuning included" * bool(numbers["tuning_hours"].any())
    drawn_costs = {
        f"device {unit}{tuned}": hours,
        "peak memory per device, GB": numbers["peak_memory_bytes"] / 1e9,
    }
    count = len(names) * len(drawn_costs)
    drawn = Figure(figsize=(WIDTH, 3.4 * count), layout="constrained")
    panels = drawn.subplots(count, squeeze=False).reshape(len(names), -1)
    points = costs[["run", "column"]].assign(y=numbers["score"], y_std=numbers["score_std"])
    points = frontier.looks(points, params)
    handles = {}
    for row, name in zip(panels, names, strict=True):
        for ax, (what, x) in zip(row, drawn_costs.items(), strict=True):
            ax.set(xlabel=better(what, "lower", "x"), ylabel=better(*units[name].axis(name)))
            here = points.assign(x=x)[points["column"] == name]
            if here.empty:
                say(ax, f"No trained run has a score for\n“{name}” yet")
                continue
            wanted = ("lower", units[name].better)
            handles |= {handle.get_label(): handle for handle in frontier.scatter(ax, here, wanted)}
            if here["x"].max() > LOGARITHMIC * here["x"].min() > 0:
                logarithmic(ax)
            else:
                ax.set_xlim(0, 1.1 * here["x"].max() or 1)
            widen(ax, units[name].scale)
    legend(drawn, list(handles.values()))
    footnote(drawn, [frontier.MEANING, "Times and memory on different devices do not compare.", *params["remarks"]])
    return drawn


def in_unit(hours: pd.Series) -> tuple[pd.Series, str]:
    """Convert hours to the unit in which the largest value is at least 1."""
    units = {"hours": 1, "minutes": 60}
    unit = next((name for name, factor in units.items() if hours.max() * factor >= 1), "seconds")
    return hours * units.get(unit, 3600), unit
