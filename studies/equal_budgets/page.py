"""Write the tables and figures of results.md from results/comparison*.csv.

    hra-workflow demo comparison --data ../shared/data                     a study; TASK=comparison_b: the other one
    python -m studies.equal_budgets.page demo/comparison ../shared/data  collect it in half an hour, rewrite the page
    python -m studies.equal_budgets.page                                 rewrite it from results/comparison*.csv

A run of a study without a final record raises an error.
"""

import re
import sys
from pathlib import Path

import pandas as pd
import yaml

from benchmarks import docs_images
from hra_workflow.core import files
from hra_workflow.report import colours, comparison
from hra_workflow.report.markdown_text import Bold, table
from studies.equal_budgets.collect import RESULTS, STUDIES, STUDY, TABLES, Set, collect, config, read

PAGE, IMAGES = STUDY / "results.md", RESULTS
FIGURES = {"forest": "contrasts", "cost": "runs"}  # and the tables that they show
QUIET = 0.9  # minimum fraction of a core that a run must have had for its seconds to be used
FORMER = {  # runs in the results that commit 3fd83f6 could train, with `sum_difference_lr_ratio: 1`, and their labels
    "hra/r8-sd": "HRA, r=8, sum and difference",
    "hra/r16-sd": "HRA, r=16, sum and difference",
}
VERDICTS = {"better": "#009E73", "worse": "#D55E00", "same level": "#0072B2", "undecided": "#666666"}


def paper_methods() -> dict:
    """Return the config of the paper's methods, under its key `methods`."""
    return yaml.safe_load((docs_images.ROOT / "config/methods.yaml").read_text())


def labels() -> dict[str, str]:
    """Return the label of every `method/variant`."""
    found = {}
    for of in (paper_methods(), *map(config, STUDIES)):
        for method, entry in of["methods"].items():
            found |= {f"{method}/{variant}": one["label"] for variant, one in entry["variants"].items()}
    return {run: label.replace(", λ=0", "") for run, label in (found | FORMER).items()}


def verdict(row: pd.Series) -> str:
    """Describe the result of a contrast, by the rule of the design."""
    if row["p_holm"] < comparison.LEVEL:
        return "better" if row["difference"] > 0 else "worse"
    return "same level" if row["p_equivalent"] < comparison.LEVEL else "undecided"


def signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def contrasts_table(contrasts: pd.DataFrame, names: dict[str, str]) -> str:
    lines = [["set", "contrast", "difference (points)", "p (Holm)", "p, equal within a point", "verdict"]]
    for _, row in contrasts.iterrows():
        low, high = (signed(row[end]).lstrip("+") for end in ("low", "high"))
        found = verdict(row)
        shown = found if found == "undecided" else Bold(found)
        p = [f"{row[key]:.2g}" for key in ("p_holm", "p_equivalent")]
        difference = f"{signed(row['difference'])} [{low}, {high}]"
        lines.append([row["set"], f"{names[row['run']]} − {names[row['other']]}", difference, *p, shown])
    return table(lines, ["left", "left", "right", "right", "right", "left"])


def results_table(runs: pd.DataFrame, trials: pd.DataFrame, name: str, of: Set, names: dict[str, str]) -> str:
    measured = [f"{name}, %", f"kept: {of.kept}", "seconds per run", "peak memory (MB)"]
    lines = [["run", "parameters", "learning rate", *measured]]
    for run, rows in runs[runs["set"] == name].groupby("run", sort=False):
        quiet = rows[is_quiet(rows)]
        rate, tried = rows["learning_rate"].iloc[0], trials[(trials["set"] == name) & (trials["run"] == run)]
        edge = rate in (tried["learning_rate"].min(), tried["learning_rate"].max())
        trained = run in names and rows["parameters"].iloc[0] > 0
        lines.append([
            names.get(run, run),
            f"{rows['parameters'].iloc[0]:,.0f}" if trained else "–",
            f"{rate:g}{' (edge)' if edge else ''}" if trained else "–",
            spread(rows["score"]),
            spread(rows["kept"]),
            f"{quiet['seconds'].mean():.0f}" if trained and len(quiet) else "–",
            f"{rows['memory_mb'].mean():.0f}" if trained else "–",
        ])  # fmt: skip
    return table(lines, ["left"] + ["right"] * 6)


def is_quiet(rows: pd.DataFrame) -> pd.Series:
    """Return which runs had an unshared core, from the first step to the last."""
    return (rows["cpu_share"] >= QUIET) & (rows["attempts"] == 1)


def spread(values: pd.Series) -> str:
    """Format mean ± standard deviation over seeds, or one value."""
    values = values.dropna()
    if not len(values):
        return "–"
    return f"{values.mean():.1f} ± {values.std():.1f}" if len(values) > 1 else f"{values.iloc[0]:.1f}"


def trials_table(trials: pd.DataFrame, names: dict[str, str]) -> str:
    lines = [["set", "run", "held-out rows at each learning rate (chosen in bold)"]]
    for (name, run), rows in trials.groupby(["set", "run"], sort=False):
        loss = rows["metric"].iloc[0] == "loss"
        cells = []
        for _, row in rows.sort_values("learning_rate").iterrows():
            score = f"{row['score']:.3f}" if loss else f"{100 * row['score']:.1f}"
            score = row["status"] if pd.isna(row["score"]) else score
            cells.append(f"{row['learning_rate']:g}: {f'**{score}**' if row['chosen'] else score}")
        lines.append([name, names[run], ", ".join(cells)])
    text = table(lines, ["left", "left", "left"])
    return text.replace("\\*\\*", "**")


def rewrite() -> None:
    """Replace the text between the page's markers with the current tables, and plot the figures."""
    results = {study: {name: read(study, name) for name in TABLES} for study in STUDIES}
    files.write_text(PAGE, page(PAGE.read_text(), results))
    for study, of_study in results.items():
        draw_contrasts(study, of_study["contrasts"])
        draw_costs(study, of_study["runs"])
        for figure in FIGURES:
            docs_images.stamp(image(study, figure), made_from(study, figure))


def image(study: str, figure: str) -> Path:
    return IMAGES / f"{study}_{figure}.png"


def made_from(study: str, figure: str) -> list[Path]:
    """Return the sources of a figure."""
    return [Path(__file__), docs_images.STYLE, RESULTS / f"{study}_{FIGURES[figure]}.csv"]


def page(text: str, results: dict[str, dict[str, pd.DataFrame]]) -> str:
    """Return the page with the current tables."""
    names, made = labels(), {}
    for study, of in results.items():
        made[f"{study} contrasts"] = contrasts_table(of["contrasts"], names)
        made[f"{study} trials"] = trials_table(of["trials"], names)
        for name, one in STUDIES[study].items():
            made[f"{study} {name}"] = results_table(of["runs"], of["trials"], name, one, names)
    for name, lines in made.items():
        marked = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        if not marked.search(text):
            sys.exit(f"{PAGE}: expected the marker <!-- table: {name} -->, found none")
        text = marked.sub(lambda found, lines=lines: found[1] + lines + found[2], text)
    return text


def draw_contrasts(study: str, contrasts: pd.DataFrame) -> None:
    """Plot the contrasts as a forest plot, with one panel per set and one row per contrast."""
    import matplotlib.pyplot as plt

    from hra_workflow.report.plot_style import SETTINGS, SMALL, WIDTH

    plt.switch_backend("Agg")
    names, sets = labels(), STUDIES[study]
    with plt.rc_context(SETTINGS):
        of_set = {name: contrasts[contrasts["set"] == name] for name in sets}
        rows = [len(one) for one in of_set.values()]
        figure, axes = plt.subplots(
            len(sets), figsize=(WIDTH, 0.5 * sum(rows) + 0.7 * len(sets)), height_ratios=rows, layout="constrained",
            sharex=True, squeeze=False,
        )  # fmt: skip
        for axis, (name, shown) in zip(axes[:, 0], of_set.items(), strict=True):
            pairs = list(dict.fromkeys(zip(shown["run"], shown["other"], strict=True)))
            for _, row in shown.iterrows():
                place, colour = pairs.index((row["run"], row["other"])), VERDICTS[verdict(row)]
                axis.plot([row["low"], row["high"]], [place, place], color=colour)
                axis.plot(row["difference"], place, "o", color=colour)
                text = {"color": colour, "ha": "center", "fontsize": 8}
                axis.annotate(verdict(row), (row["difference"], place), (0, 6), textcoords="offset points", **text)
            axis.axvline(0, color="black", linewidth=1)
            axis.axvspan(-comparison.MARGIN, comparison.MARGIN, color="#dddddd", zorder=0)
            axis.set_yticks(range(len(pairs)), [f"{names[run]}\n− {names[other]}" for run, other in pairs])
            axis.tick_params(axis="y", labelsize=8)
            axis.set_title(name, fontsize=10)
            axis.set_ylim(len(pairs) - 0.5, -0.6)
        figure.supxlabel("difference in points, 95 % interval (shaded: within one)", fontsize=SMALL)
        figure.savefig(image(study, "forest"), dpi=200)


def draw_costs(study: str, runs: pd.DataFrame) -> None:
    """Plot scores against parameters, seconds and retention, with one column of panels per set."""
    import matplotlib.pyplot as plt

    from hra_workflow.report.plot_style import SETTINGS, SMALL, WIDTH, dot, logarithmic, styles

    plt.switch_backend("Agg")
    names, sets = labels(), STUDIES[study]
    with plt.rc_context(SETTINGS):
        trained = runs.loc[runs["parameters"] > 0, "run"].unique()
        studied = {name: one for name, one in config(study)["tasks"].items() if one}
        looks, shown = styles(trained, colours.of_methods(paper_methods() | {"tasks": studied})), {}
        figure, axes = plt.subplots(
            3, len(sets), figsize=(1.2 * WIDTH, 8.5), layout="constrained", sharey="col", squeeze=False
        )
        for column_of_set, (name, one) in zip(axes.T, sets.items(), strict=True):
            of_set = runs[(runs["set"] == name) & (runs["parameters"] > 0)]
            of_set = of_set.assign(seconds=of_set["seconds"].where(is_quiet(of_set)))
            titles = {"parameters": "parameters", "seconds": "seconds per run", "kept": f"kept: {one.kept} (%)"}
            for axis, (column, title) in zip(column_of_set, titles.items(), strict=True):
                for run, rows in of_set.groupby("run", sort=False):
                    x, y = rows[column].mean(), rows["score"]
                    if not pd.isna(x):
                        shown[run] = dot(axis, x, y.mean(), names[run], looks[run], yerr=y.std())
                axis.set(xlabel=title, ylabel=f"{name} (%)")
                axis.tick_params(labelsize=SMALL)
            sizes = column_of_set[0]
            if of_set["parameters"].max() > 20 * of_set["parameters"].min():
                logarithmic(sizes, 1e6, " M")
            else:
                sizes.locator_params(axis="x", nbins=4)
                sizes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} M")
        figure.legend(handles=list(shown.values()), loc="outside lower center", ncols=2, fontsize=SMALL)
        figure.savefig(image(study, "cost"), dpi=200)


def main(arguments: list[str]) -> None:
    if len(arguments) not in (0, 2):
        sys.exit((__doc__ or "").strip())
    if arguments:
        collect(*map(Path, arguments))
    rewrite()


if __name__ == "__main__":
    main(sys.argv[1:])
