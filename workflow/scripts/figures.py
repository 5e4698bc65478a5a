"""Plot the run table: parameters (Fig. 1b, 1c) and λ (Fig. 3, 4) against score.

Our markers are filled, the paper's hollow; a method has the same colour in all figures, and its variants differ in
marker. Each figure is written as SVG and PNG, reproducibly for the same data. Missing results are listed in
the figure.
"""

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hra_workflow import tasks
from hra_workflow.core.job import script
from hra_workflow.report import column_units, run_statistics, searches
from hra_workflow.report.plot_style import (
    SETTINGS,
    SMALL,
    WIDTH,
    better,
    dot,
    footnote,
    legend,
    logarithmic,
    save,
    say,
    styles,
    widen,
)
from hra_workflow.report.run_statistics import readable, scale_free


def chosen(scores: pd.DataFrame, column: str, selection: str) -> pd.DataFrame:
    """Return mean and std of one column per run with a value; the std of a single seed is NaN."""
    own = scores[(scores["selection"] == selection) & (scores["column"] == column)]
    return run_statistics.summary(own).droplevel(["selection", "column"])[["mean", "std"]]


def remarks(params: dict) -> list[str]:
    """Name the columns of `params["parameters"]` whose runs had no equal searches."""
    shown = params["parameters"]
    unequal = searches.table_searches(params).unequal(params["labels"], shown)
    of_these = f" ({', '.join(unequal)})" * (len(unequal) < len(shown))
    return [f"{searches.NOT_RANKED}{of_these}."] * bool(unequal)


# Fig. 1b and 1c


def parameters_figure(runs: pd.DataFrame, scores: pd.DataFrame, published: pd.DataFrame, params: dict) -> Figure:
    """Plot adapter parameters, on a logarithmic axis, against each column or average of the config."""
    names, labels = params["parameters"], params["labels"]
    style = styles(list(dict.fromkeys([*labels, *published["run"][published["run"] != ""]])), params["colours"])
    figure = Figure(figsize=(WIDTH, 3.8 * len(names)), layout="constrained")
    handles, notes, units = {}, {}, column_units.units(params)
    empty, parts = run_statistics.without_value(scores), column_units.parts(params)
    uncounted = tasks.classes()[params["task"]].uncounted
    xlabel = better(f"adapter parameters{f', without the {uncounted}' if uncounted else ''}", "lower", "x")
    for ax, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        ax.set(xlabel=xlabel, ylabel=better(*units[name].axis(name)))
        ours = chosen(scores, name, params["selections"][0])
        sizes = runs[runs["status"] == "ok"].groupby("run")["adapter_parameters"].mean()
        ours["parameters"] = sizes.reindex(ours.index)  # an empty table would get the runs of `sizes`
        ours = ours.loc[[run for run in labels if run in ours.index]]
        drawn = parameters_panel(ax, name, ours, published, params, style)
        handles |= {handle.get_label(): handle for handle in drawn}
        if not drawn:
            what, end = ("a value", "") if empty[name] else ("every column", " yet")
            say(ax, f"No run has {what} of\n“{name}”{end}")
        if ours["parameters"][ours["parameters"] > 0].duplicated().any():
            notes["Runs with the same number of parameters are plotted side by side."] = None
        datasets = {part["dataset"] for part in parts[name]}
        planned = runs.groupby("run")["dataset"].agg(lambda found, datasets=datasets: datasets <= set(found))
        absent = [run for run in labels if run not in ours.index and planned.get(run, False)]
        for text, missing in [
            (f"No complete {'average' if len(parts[name]) > 1 else name} yet", set(absent) - empty[name]),
            (f"Evaluated without a value of {name}", set(absent) & empty[name]),
        ]:
            if missing:
                notes[f"{text}: {', '.join(labels[run] for run in absent if run in missing)}"] = None
    legend(figure, list(handles.values()))
    footnote(figure, [*notes, *params["remarks"]])
    return figure


def parameters_panel(
    ax, name: str, ours: pd.DataFrame, published: pd.DataFrame, params: dict, style: dict[str, dict]
) -> list:
    labels, alike, scale = params["labels"], ours.groupby("parameters"), column_units.units(params)[name].scale
    ours["aside"] = alike.cumcount() - (alike["mean"].transform("size") - 1) / 2  # otherwise one marker hides the other
    handles = [
        dot(ax, cell["parameters"] * 1.08 ** cell["aside"], cell["mean"], labels[run], style[run], yerr=cell["std"])
        for run, cell in ours[ours["parameters"] > 0].iterrows()
    ]
    handles += paper_points(ax, name, published, params, style)
    ends: list[float] = []
    if handles:
        logarithmic(ax, 1e6, " M")
        widen(ax, scale)
        ends += ax.get_ylim()
    low, high = ax.get_ylim()
    single, outside = len(handles) < 2, {"above ↑": [], "below ↓": []}
    for run, level in ours.loc[ours["parameters"] == 0, "mean"].items():  # 0 is not on a logarithmic axis
        if single or abs(level - (low + high) / 2) < high - low:
            handles.append(ax.axhline(level, linestyle="--", color=style[run]["color"], label=labels[run]))
            ends += [level - 0.05 * (high - low), level + 0.05 * (high - low)]
        else:  # a distant line would compress the others
            side = "above ↑" if level > high else "below ↓"
            outside[side].append(f"{labels[run]}: {level:.4g}, {side}")
    if ends:
        ax.set_ylim(min(ends), max(ends))
        widen(ax, scale)
    low, high = ax.get_ylim()
    above, below = (0.08 * (high - low) * len(texts) for texts in outside.values())
    ax.set_ylim(low - below, high + above)
    for texts, y, va in zip(outside.values(), (0.98, 0.02), ("top", "bottom"), strict=True):
        ax.text(0.62, y, "\n".join(texts), transform=ax.transAxes, ha="center", va=va, color="#555555", fontsize=SMALL)
    return handles


def paper_points(ax, name: str, published: pd.DataFrame, params: dict, style: dict[str, dict]) -> list[Line2D]:
    """Plot the published values as hollow markers, thin if their scale differs from ours.

    Published methods that we do not run are small dots.
    """
    source = run_statistics.source_of(params)
    name_of = f"the {source['label']}" if source["label"] == "paper" else source["label"]
    same_scale = run_statistics.counterparts(published, params["columns"], params["averages"])
    comparable = {row for row, column in same_scale if column == name}
    like = {row for row, column in same_scale if (column in params["averages"]) == (name in params["averages"])}
    cells = published[(published["column"] == scale_free(name)) & published["row"].isin(like)]
    cells = cells[pd.to_numeric(cells["params_M"], errors="coerce") > 0]
    looks = {
        same: {"markerfacecolor": "none", "markersize": 8, "linestyle": "", "markeredgewidth": width, "alpha": alpha}
        for same, width, alpha in [(True, 1.4, 1), (False, 0.8, 0.6)]
    }
    handles, others = [], iter("XP*h" * len(cells))
    for _, cell in cells.iterrows():
        own = style.get(cell["run"]) or {"color": "#666666", "marker": next(others)}
        look = {"color": own["color"], "marker": own["marker"]} | looks[cell["row"] in comparable]
        label = f"{cell['method']} {readable(cell['setting'])}".strip()
        if cell["run"] not in params["labels"] and source["first"]:
            look |= {"color": "#999999", "marker": "o", "markersize": 3}
            label = f"others of {source['label']}"
        ax.plot(float(cell["params_M"]) * 1e6, float(cell["value"]), **look)
        if cell["run"] not in params["labels"]:
            only = label if source["first"] else f"{label} ({source['label']} only)"
            handles.append(Line2D([], [], label=only, **look))
    key = {True: f"hollow: {name_of}", False: f"hollow, thin: {name_of},\non another scale"}
    kinds = set(cells["row"].isin(comparable))
    return handles + [
        Line2D([], [], color="#444444", marker="o", label=label, **looks[same])
        for same, label in key.items()
        if same in kinds
    ]


# Fig. 3 and 4


def lambda_text(value: float) -> str:
    """Format λ as `0`, `1e-5` or `∞`."""
    return {0: "0", math.inf: "∞"}.get(value) or np.format_float_scientific(value, trim="-", exp_digits=1)


def lambda_figure(scores: pd.DataFrame, published: pd.DataFrame, sweep: pd.DataFrame, params: dict) -> Figure:
    """Plot λ against each column of the config; λ = 0 and λ = ∞ are set apart, as neither is on a logarithmic axis."""
    names = params["lambda"]
    figure = Figure(figsize=(WIDTH, 3.6 * len(names)), layout="constrained")
    handles, notes = {}, {}
    for ax, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        drawn, lines = lambda_panel(ax, name, scores, published, sweep, params)
        handles |= {handle.get_label(): handle for handle in drawn}
        notes |= dict.fromkeys(lines)
    legend(figure, list(handles.values()), reverse=True)
    footnote(figure, list(notes))
    return figure


def lambda_panel(
    ax, name: str, scores: pd.DataFrame, published: pd.DataFrame, sweep: pd.DataFrame, params: dict
) -> tuple[list[Line2D], list[str]]:
    """Plot one panel with one series per r; return the handles for the legend and the notes below it."""
    metric = {column["name"]: column["metric"] for column in params["columns"]}.get(name)
    lambdas = {run: float(entry["lambda"]) for run, entry in params["lambdas"].items()}
    series = {run: entry["series"] for run, entry in params["lambdas"].items()}
    ours = chosen(scores, name, params["selections"][0])
    ours = ours.loc[[run for run in lambdas if run in ours.index]]
    bars = sweep[(sweep["column"] == scale_free(name)) & (sweep["metric"] == metric)]
    bars = bars.set_index("run")["value"].astype(float)
    swept = sweep.set_index("run")["lambda"].astype(float).to_dict()
    run_of = published.drop_duplicates("row").set_index("row")["run"]
    same_scale = run_statistics.counterparts(published, params["columns"], {})
    rows = {run_of[row]: value for (row, column), value in same_scale.items() if column == name}
    rows = pd.Series({run: value for run, value in rows.items() if run in lambdas}, dtype=float)
    place = swept | lambdas
    ticks = pd.Index(sorted({place[run] for run in [*lambdas, *bars.index]}), dtype=float)

    unit = column_units.units(params)[name]
    ax.set(ylabel=better(*unit.axis(name)), xlim=(-0.5, max(len(ticks), 1) - 0.5))
    ax.set_xlabel("λ, weight of the penalty (∞: Gram–Schmidt)")
    ax.set_xticks(range(len(ticks)), [lambda_text(value) for value in ticks])
    ax.grid(axis="x", visible=False)
    for index, value in enumerate(ticks):
        if len(ticks) > 2 and value in (0, math.inf):
            ax.axvspan(index - 0.5, index + 0.5, color="#f4f4f4", zorder=0)

    def at(values: pd.Series | pd.DataFrame):
        return ticks.get_indexer([place[run] for run in values.index])

    figure_name, table_name = tasks.classes()[params["task"]].lambda_sources
    handles, several = [], list(dict.fromkeys(series.values()))
    for index, kind in enumerate(several or [""]):
        mark, suffix = "osD^v<>"[index % 7], f", {kind}" if len(several) > 1 else ""
        part = bars[[series.get(run, kind) == kind for run in bars.index]]
        part = part.iloc[np.argsort(at(part), kind="stable")]
        papers = [(part, mark, ":", figure_name)]
        papers += [(rows[[series[run] == kind for run in rows.index]], "s" if mark == "o" else mark, "", table_name)]
        for values, marker, line, label in papers:
            if len(values):
                look = {"color": "#444444", "markerfacecolor": "none", "markersize": 8, "linewidth": 1}
                handles += ax.plot(
                    at(values) + 0.12, values, marker=marker, linestyle=line, label=f"paper, {label}{suffix}", **look
                )
        part = ours[[series[run] == kind for run in ours.index]]
        places = at(part) - 0.12 * bool(len(bars) + len(rows)) - 0.08 * index
        for x, (run, cell) in zip(places, part.iterrows(), strict=True):
            look = {"color": params["colours"][run.split("/")[0]], "marker": mark}
            handles.append(dot(ax, x, cell["mean"], f"ours{suffix}, mean ± std over seeds", look, yerr=cell["std"]))
    widen(ax, unit.scale)
    if not (len(ours) + len(bars) + len(rows)):
        say(ax, f"No run of the λ sweep has {name} yet")
    notes = []
    if absent := list(dict.fromkeys(lambda_text(lambdas[run]) for run in lambdas if run not in ours.index)):
        notes.append(f"No run of ours yet: λ = {', '.join(absent)}")
    if ((bars - rows).abs() > 0.005).any():
        notes.append(
            f"The paper's labels conflict: {table_name} and {figure_name} disagree on one λ (see the table's notes)."
        )
    return handles, notes


@script
def main(job: dict) -> None:
    params, inputs, output = job["params"], job["input"], job["output"]
    runs = run_statistics.read_runs(inputs["runs"])
    published, path = run_statistics.read_published(inputs.get("published")), inputs.get("published_lambda")
    sweep = run_statistics.read_csv(path) if path else published.iloc[:0].assign(**{"lambda": ""})
    scores = run_statistics.scores(runs, column_units.parts(params))
    params["remarks"] = remarks(params) if "parameters" in params else []
    drawn = {
        "parameters": lambda: parameters_figure(runs, scores, published, params),
        "lambda": lambda: lambda_figure(scores, published, sweep, params),
    }
    with matplotlib.rc_context(SETTINGS | {"svg.hashsalt": params["task"]}):
        for name, draw in drawn.items():
            if f"{name}_svg" in output:
                save(draw(), output[f"{name}_svg"], output[f"{name}_png"])


if __name__ == "__main__":
    main()
