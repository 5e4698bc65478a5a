"""Score against retention: learning and forgetting of the trained weights, and of rewound ones."""

import pandas as pd
from matplotlib.figure import Figure

from hra_workflow.core import strength_names
from hra_workflow.report import frontier, run_statistics
from hra_workflow.report.plot_style import WIDTH, better, footnote, legend, say, styles

LAST = "last"  # the only selection of rewound weights


def figure(
    runs: pd.DataFrame, columns: list[dict], averages: dict[str, list[str]], params: dict, about: dict
) -> Figure:
    """Plot retention against every column of `params["parameters"]`.

    runs: of run_statistics.read_runs. columns, averages: as expanded by run_statistics. params: `labels`, `colours` and
    `remarks` of figures.py, `strengths` below 1, `retention` with its `benchmark`, `metric`, `label`, `better` and
    `base`, the value of the base model if it has no row. about: `label`, `better` and `scale` per column.
    """
    names, retention, scale = params["parameters"], params["retention"], params["scale"]
    drawn = Figure(figsize=(WIDTH, 4 * len(names)), layout="constrained")
    scores = at_strengths(runs, columns, averages, params["strengths"], scale)
    handles, named = {}, []
    for ax, name in zip(drawn.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        ax.set(xlabel=better(retention["label"], retention["better"], "x"), ylabel=about[name]["label"])
        members = [column for column in columns if column["name"] in averages.get(name, [name])]
        kept = retained(runs, retention, {column["dataset"] for column in members})
        points = scores[scores["column"] == name].merge(kept, how="left", on=["run", "strength"])
        if retention["base"] is not None:
            points.loc[points["run"].isin(params["untrained"]), "x"] = retention["base"]
        points = looks(points.dropna(subset=["x", "y"]), params)
        if points.empty:
            say(ax, f"No run has both retention and\n“{name}” yet")
            continue
        wanted = (retention["better"], about[name]["better"])
        found = frontier.scatter(ax, points, wanted)
        whole = (points["strength"] == 1).tolist()
        handles |= {one.get_label(): one for one, trained in zip(found, whole, strict=True) if trained}
        for _, line in points.groupby("run"):
            line = line.sort_values("strength")
            ax.plot(line["x"], line["y"], color=line["color"].iloc[0], linewidth=1, linestyle=":", zorder=1)
        named.append((ax, points, wanted))
    legend(drawn, list(handles.values()))
    notes = [frontier.MEANING, "Mean ± std over seeds, weights after the last step."]
    if params["strengths"]:
        listed = ", ".join(f"{strength:g}" for strength in params["strengths"])
        notes.append(f"Dotted: weights rewound to strength {listed} (named @), without training again.")
    footnote(drawn, [*notes, *params["remarks"]])
    frontier.name(*named)
    return drawn


def at_strengths(
    runs: pd.DataFrame, columns: list[dict], averages: dict[str, list[str]], strengths: list[float], scale: float
) -> pd.DataFrame:
    """Return `y` and `y_std` over seeds by `run`, `column` and `strength`."""
    parts = []
    for strength in [1.0, *strengths]:
        of_strength = [column | {"benchmark": at(column["benchmark"], strength)} for column in columns]
        values = run_statistics.scores(runs, of_strength, averages, scale)
        found = run_statistics.summary(values[values["selection"] == LAST], averages).reset_index()
        parts.append(found.assign(strength=strength))
    table = pd.concat(parts, ignore_index=True)
    return table.rename(columns={"mean": "y", "std": "y_std"})[["run", "column", "strength", "y", "y_std"]]


def at(benchmark: str, strength: float) -> str:
    return benchmark if strength == 1 else strength_names.name(benchmark, strength)


def retained(runs: pd.DataFrame, retention: dict, datasets: set[str]) -> pd.DataFrame:
    """Return `x` and `x_std` over seeds by `run` and `strength`: the mean over these datasets."""
    own = runs["benchmark"].map(lambda name: strength_names.split(name)[0]) == retention["benchmark"]
    found = runs[own & (runs["status"] == "ok") & (runs["metric"] == retention["metric"])]
    found = found[found["dataset"].isin(datasets)]
    found = found.assign(strength=pd.to_numeric(found["strength"]))
    seeds = found.groupby(["run", "strength", "seed"])["value"].mean()
    table = seeds.groupby(["run", "strength"]).agg(["mean", "std"]).reset_index()
    return table.rename(columns={"mean": "x", "std": "x_std"})


def looks(points: pd.DataFrame, params: dict) -> pd.DataFrame:
    """Add label, colour and marker of every point, in the order of the labels."""
    style, order = styles(list(params["labels"]), params["colours"]), list(params["labels"])
    points = points[points["run"].isin(order)]
    points = points.iloc[points["run"].map(order.index).argsort(kind="stable")]
    labels = [
        params["labels"][run] + ("" if strength == 1 else f" @{strength:g}")
        for run, strength in zip(points["run"], points["strength"], strict=True)
    ]
    shown = [style[run] for run in points["run"]]
    return points.assign(
        label=labels, color=[one["color"] for one in shown], marker=[one["marker"] for one in shown]
    ).reset_index(drop=True)
