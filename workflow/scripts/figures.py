"""Draw the run table: parameters against the average (Fig. 1b), λ against one task (Fig. 3), dev curves per task.

Ours are filled, the paper's are hollow; a method has one colour in all figures and its variants differ by marker and
dash. Each figure is an SVG and a PNG that do not change when the data do not. What is not there yet is said in the
figure.
"""

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from common import aggregate, files
from common.aggregate import as_list, readable, scale_free
from common.job import start
from common.style import COLOURS, SETTINGS, SMALL, remark, save, say, styles

METRICS = {
    "accuracy_f1_mean": "mean of accuracy and F1",
    "matthews_correlation": "Matthews correlation",
    "pearson_spearman_mean": "mean of Pearson and Spearman",
}


def best_on_dev(statistics: pd.DataFrame, column: str) -> pd.DataFrame:
    """mean and std of one column by run; std 0, that is no error bar, where there is one seed."""
    table = statistics.reset_index()
    table = table[(table["selection"] == "best_on_dev") & (table["column"] == column)].set_index("run")
    return table[["mean", "std"]].fillna({"std": 0})


# Fig. 1b


def parameters_figure(runs: pd.DataFrame, statistics: pd.DataFrame, published: pd.DataFrame, params: dict) -> Figure:
    """Adapter parameters, logarithmic, against the average of the best-on-dev scores."""
    average, labels = params.get("average") or "", params["labels"]
    style = styles(list(dict.fromkeys([*labels, *published["run"][published["run"] != ""]])))
    ours = best_on_dev(statistics, average)
    ours["parameters"] = runs[runs["status"] == "ok"].groupby("run")["adapter_parameters"].mean()
    ours = ours.loc[[run for run in labels if run in ours.index]]
    alike = ours.groupby("parameters")
    ours["aside"] = alike.cumcount() - (alike["mean"].transform("size") - 1) / 2  # else one hides the other

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    ax = figure.add_subplot(xlabel="adapter parameters, classifier not counted", ylabel=f"{average}, %")
    points = ours[ours["parameters"] > 0]
    handles = [
        ax.errorbar(
            cell["parameters"] * 1.08 ** cell["aside"], cell["mean"], cell["std"], linestyle="", capsize=3,
            markersize=8, label=labels[run], color=style[run]["color"], marker=style[run]["marker"],
        )
        for run, cell in points.iterrows()
    ]  # fmt: skip
    handles += paper_points(ax, published, params, style)
    if handles:
        ax.set_xscale("log")
    low, high = ax.get_ylim()
    for run, level in ours.loc[ours["parameters"] == 0, "mean"].items():  # no place on a logarithmic axis
        if not handles or low - (high - low) / 2 < level < high:
            handles.append(ax.axhline(level, linestyle="--", color=style[run]["color"], label=labels[run]))
        else:  # a line far below would press the others together
            ax.set_ylim(low - 0.08 * (high - low), high)
            text = f"{labels[run]}: {level:.2f}, below ↓"
            ax.text(0.62, 0.02, text, transform=ax.transAxes, ha="center", color="#555555", fontsize=SMALL)
    if handles:
        figure.legend(handles=handles, loc="outside right upper", fontsize=SMALL)
    else:
        say(ax, f"No run has every column of\n“{average}” yet")
    notes = []
    if points["parameters"].duplicated().any():
        notes.append("Runs with the same number of parameters are drawn side by side.")
    datasets = {c["dataset"] for c in params["columns"] if c["name"] in params["averages"].get(average, [])}
    planned = runs.groupby("run")["dataset"].agg(lambda names: datasets <= set(names))  # a λ of the sweep is not
    absent = [label for run, label in labels.items() if run not in ours.index and planned.get(run, False)]
    if handles and absent:
        notes.append(f"No complete average yet: {', '.join(absent)}")
    remark(figure, notes)
    return figure


def paper_points(ax, published: pd.DataFrame, params: dict, style: dict[str, dict]) -> list[Line2D]:
    """The paper's averages as hollow markers; thin where MRPC and QQP are on another scale than this average's."""
    average = params.get("average") or ""
    same_scale = aggregate.counterparts(published, params["columns"], params["averages"])
    comparable = {row for row, column in same_scale if column == average}
    averaged = {row for row, column in same_scale if column in params["averages"]}
    cells = published[(published["column"] == scale_free(average)) & published["row"].isin(averaged)]
    looks = {
        same: {"markerfacecolor": "none", "markersize": 8, "linestyle": "", "markeredgewidth": width, "alpha": alpha}
        for same, width, alpha in [(True, 1.4, 1), (False, 0.8, 0.6)]
    }
    handles, others = [], iter("XP*h" * len(cells))
    for _, cell in cells.iterrows():
        own = style.get(cell["run"]) or {"color": "#666666", "marker": next(others)}
        look = {"color": own["color"], "marker": own["marker"]} | looks[cell["row"] in comparable]
        ax.plot(float(cell["params_M"]) * 1e6, float(cell["value"]), **look)
        if cell["run"] not in params["labels"]:
            label = f"{cell['method']} {readable(cell['setting'])}".strip()
            handles.append(Line2D([], [], label=f"{label} (paper only)", **look))
    key = {True: "hollow: the paper", False: "hollow, thin: the paper, MRPC\nand QQP on the other scale"}
    kinds = set(cells["row"].isin(comparable))
    return handles + [
        Line2D([], [], color="#444444", marker="o", label=label, **looks[same])
        for same, label in key.items()
        if same in kinds
    ]


# Fig. 3


def lambda_text(value: float) -> str:
    """`0`, `1e-5`, `∞`"""
    return {0: "0", math.inf: "∞"}.get(value) or np.format_float_scientific(value, trim="-", exp_digits=1)


def lambda_figure(statistics: pd.DataFrame, published: pd.DataFrame, sweep: pd.DataFrame, params: dict) -> Figure:
    """λ against one column; λ = 0 and λ = ∞ stand apart at the ends, since neither is on a logarithmic axis."""
    name = params.get("lambda_column") or ""
    metric = {column["name"]: column["metric"] for column in params["columns"]}.get(name)
    lambdas = {run: float(value) for run, value in params["lambdas"].items()}
    best = best_on_dev(statistics, name)
    ours = best.loc[[run for run in lambdas if run in best.index]].rename(index=lambdas)
    same = sweep[(sweep["column"] == scale_free(name)) & (sweep["metric"] == metric)]
    figure_3 = same.set_index(same["lambda"].astype(float))["value"].astype(float)
    run_of = published.drop_duplicates("row").set_index("row")["run"]
    same_scale = aggregate.counterparts(published, params["columns"], {})
    table_2 = {
        lambdas[run_of[row]]: value
        for (row, column), value in same_scale.items()
        if column == name and run_of[row] in lambdas
    }
    table_2 = pd.Series(table_2, dtype=float)
    ticks = pd.Index(sorted({*lambdas.values(), *figure_3.index, *table_2.index}), dtype=float)

    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    ax = figure.add_subplot(ylabel=f"{name}, %", xlim=(-0.5, max(len(ticks), 1) - 0.5))
    ax.set_xlabel("λ, weight of the orthogonality penalty (∞: Gram–Schmidt)")
    ax.set_xticks(range(len(ticks)), [lambda_text(value) for value in ticks])
    ax.grid(axis="x", visible=False)
    for place, value in enumerate(ticks):
        if len(ticks) > 2 and value in (0, math.inf):
            ax.axvspan(place - 0.5, place + 0.5, color="#f4f4f4", zorder=0)
    for values, marker, line, label in [(figure_3, "o", ":", "Figure 3"), (table_2, "s", "", "Table 2")]:
        if len(values):
            look = {"color": "#444444", "markerfacecolor": "none", "markersize": 8, "linewidth": 1}
            x = ticks.get_indexer(values.index) + 0.12
            ax.plot(x, values, marker=marker, linestyle=line, label=f"paper, {label}", **look)
    if len(ours):
        x = ticks.get_indexer(ours.index) - 0.12 * bool(len(figure_3) + len(table_2))
        look = {"color": COLOURS["hra"], "marker": "o", "markersize": 8, "linestyle": "", "capsize": 3}
        ax.errorbar(x, ours["mean"], ours["std"], label="ours, mean ± std over seeds", **look)
    if ax.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", ncols=3, fontsize=SMALL, reverse=True)
    else:
        say(ax, f"No run of the λ sweep has {name or 'a column here'} yet")
    notes = []
    if absent := [lambda_text(value) for value in lambdas.values() if value not in ours.index]:
        notes.append(f"No run of ours yet: λ = {', '.join(absent)}")
    if ((figure_3 - table_2).abs() > 0.005).any():
        notes.append("The paper's labels conflict: Table 2 and Figure 3 differ at one λ (see the table's notes).")
    remark(figure, notes)
    return figure


# Dev curves


def curves(records: list[dict]) -> pd.DataFrame:
    """One row per run, seed and evaluation on dev: the score in percent."""
    rows = [
        {
            "dataset": record["dataset"],
            "run": f"{record['method']}/{record['variant']}",
            "seed": record["seed"],
            "score": record["score"],
            "step": point["step"],
            "epoch": point["epoch"],
            "value": 100 * point["metrics"][record["score"]],
        }
        for record in records
        for point in record["curve"]
        if record["score"] in point["metrics"]
    ]
    return pd.DataFrame(rows, columns=["dataset", "run", "seed", "score", "step", "epoch", "value"])


def curves_figure(points: pd.DataFrame, params: dict) -> Figure:
    """One panel per dataset, one line per run: mean over seeds, band of one std."""
    labels = params["labels"]
    titles = {column["dataset"]: scale_free(column["name"]) for column in reversed(params["columns"])}
    datasets = list(dict.fromkeys(column["dataset"] for column in params["columns"]))
    style = styles(list(labels))
    across = min(3, len(datasets))
    down = math.ceil(len(datasets) / across)
    height = 2.7 * down + (0.25 * math.ceil(len(labels) / 4) + 0.2 if across * down == len(datasets) else 0.2)
    figure = Figure(figsize=(max(3.4 * across, 6), height), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flatten()
    shown = {}
    for ax, dataset in zip(panels, datasets, strict=False):
        here = points[points["dataset"] == dataset]
        scores = ", ".join(METRICS.get(score, score) for score in dict.fromkeys(here["score"]))
        ax.set_title(f"{titles[dataset]}: {scores}, %" if scores else titles[dataset], fontsize=SMALL, loc="left")
        levels = []
        for run in labels:
            steps = here[here["run"] == run].groupby("step")
            line = steps.agg(epoch=("epoch", "mean"), mean=("value", "mean"), std=("value", "std"), n=("seed", "size"))
            if line.empty:
                continue
            line = line[line["n"] == line["n"].max()].fillna({"std": 0})  # a mean over fewer seeds would jump
            look = {key: style[run][key] for key in ("color", "linestyle")}
            (shown[run],) = ax.plot(line["epoch"], line["mean"], linewidth=1.4, label=labels[run], **look)
            low, high = line["mean"] - line["std"], line["mean"] + line["std"]
            ax.fill_between(line["epoch"], low, high, color=look["color"], alpha=0.12, linewidth=0)
            levels += [line["mean"].iloc[len(line) // 2 :].min(), line["mean"].max()]
        if levels:  # the first evaluations are far below; the picture is about where the methods end
            margin = 0.1 * (max(levels) - min(levels)) + 0.3
            ax.set_ylim(min(levels) - margin, max(levels) + margin)
        else:
            say(ax, "no run yet")
    for ax in panels[len(datasets) :]:
        ax.set_axis_off()
    handles = [shown[run] for run in labels if run in shown]
    if len(panels) > len(datasets):  # an empty panel has room for the legend
        figure.supxlabel("epoch", fontsize=10)
        panels[-1].legend(handles=handles, loc="center", fontsize=SMALL)
        return figure
    for ax in panels[-across:]:
        ax.set_xlabel("epoch")
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=SMALL)
    return figure


def main(job: dict) -> None:
    params, inputs, output = job["params"], job["input"], job["output"]
    runs = aggregate.read_runs(inputs["runs"])
    published, sweep = (
        aggregate.read_csv(inputs[name]) if inputs.get(name) else pd.DataFrame(columns=[*aggregate.PUBLISHED, "lambda"])
        for name in ("published", "published_lambda")
    )
    statistics = aggregate.summary(aggregate.scores(runs, params["columns"], params["averages"]), params["averages"])
    points = curves([files.read_json(path) for path in as_list(inputs.get("records"))])
    with matplotlib.rc_context(SETTINGS | {"svg.hashsalt": params["task"]}):
        figure = parameters_figure(runs, statistics, published, params)
        save(figure, output["parameters_svg"], output["parameters_png"])
        figure = lambda_figure(statistics, published, sweep, params)
        save(figure, output["lambda_svg"], output["lambda_png"])
        save(curves_figure(points, params), output["curves_svg"], output["curves_png"])


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
