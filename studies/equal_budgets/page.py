"""Write the tables and figures of README.md and results.md from results/comparison*.csv.

    hra-workflow run studies/equal_budgets/config/comparison.yaml --data ../shared/data    a part of the study
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
from hra_workflow.report.markdown_text import table
from studies.equal_budgets.collect import COSINE, ONE_STEP, RESULTS, STUDIES, STUDY, TABLES, collect, config, read

OVERVIEW, PAGE, IMAGES = STUDY / "README.md", STUDY / "results.md", RESULTS
CONTRASTS = IMAGES / "contrasts.png"
BOTH_SIDES, FROZEN = "hra/r4-two-sided", "hra-frozen/r8-two-sided"
KEPT = {study: {name: one.kept for name, one in sets.items()} for study, sets in STUDIES.items()} | {
    "comparison_c": {"word problems": ONE_STEP[0], "SST-2": COSINE},
    "comparison_d": {"word problems": ONE_STEP[0]},
    "comparison_e": {"word problems": ONE_STEP[0], "SST-2": COSINE, "MRPC": COSINE},
}  # what measures what a run has not forgotten, by study and set
PARTS = dict(zip("ABCDE", KEPT, strict=True))
ONLY_FIGURES = ("comparison_c", "comparison_d")  # their forms are in part E, or the library no longer has them
SETS = ("word problems", "SST-2", "MRPC")
QUIET = 0.9  # minimum fraction of a core that a run must have had for its seconds to be used
# Runs in the results whose form the library no longer has, and their labels. Commit 3fd83f6 could train the first, with
# `sum_difference_lr_ratio: 1`, commit 6cab4b67 those with magnitudes, and commit 5eb2844 the others, by the configs of
# parts C to E.
NOT_IN_OVERVIEW = {
    "hra/r8-sd": "HRA, r=8, sum and difference",
    "hra/r16-sd": "HRA, r=16, sum and difference",
    "hra/r4-two-sided-magnitudes": "HRA, two-sided, r=4+4, magnitudes",
    "hra/r8-two-sided-magnitudes": "HRA, two-sided, r=8+8, magnitudes",
}
FORMER = NOT_IN_OVERVIEW | {
    BOTH_SIDES: "HRA, two-sided, r=4+4",
    "hra/r8-two-sided": "HRA, two-sided, r=8+8",
    FROZEN: "HRA, two-sided, r=8+8, frozen",
}
VERDICTS = {"better": "#009E73", "worse": "#D55E00", "same level": "#0072B2", "undecided": "#666666"}
MARKS = {"better": "▲", "worse": "▼", "same level": "=", "undecided": "?"}


def paper_methods() -> dict:
    """Return the config of the paper's methods, under its key `methods`."""
    return yaml.safe_load((docs_images.ROOT / "config/methods.yaml").read_text())


def labels() -> dict[str, str]:
    """Return the label of every `method/variant`."""
    found = {}
    for of in (paper_methods(), *map(config, STUDIES)):
        for method, entry in of["methods"].items():
            found |= {f"{method}/{variant}": one["label"] for variant, one in entry["variants"].items()}
    found["dora/r4-alpha8"] = "DoRA, r=4"  # a variant of parts C to E
    return {run: label.replace(", λ=0", "") for run, label in (found | FORMER).items()}


def verdict(row: pd.Series) -> str:
    """Describe the result of a contrast, by the rule of the design."""
    if row["p_holm"] < comparison.LEVEL:
        return "better" if row["difference"] > 0 else "worse"
    return "same level" if row["p_equivalent"] < comparison.LEVEL else "undecided"


def signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def overview(results: dict[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return the contrasts of all parts except those of `NOT_IN_OVERVIEW`, with `part` and sizes."""
    found = []
    for part, study in PARTS.items():
        of_part = results[study]["contrasts"].assign(part=part)
        sizes = results[study]["runs"].groupby(["set", "run"])["parameters"].first()
        for name in ("run", "other"):
            of_part[f"parameters of {name}"] = [sizes[key] for key in zip(of_part["set"], of_part[name], strict=True)]
        found.append(of_part[~of_part["run"].isin([*NOT_IN_OVERVIEW]) & ~of_part["other"].isin([*NOT_IN_OVERVIEW])])
    return pd.concat(found)


def overview_table(contrasts: pd.DataFrame, names: dict[str, str]) -> str:
    lines = [["part", "HRA", "minus", *SETS, "parameters, %", "seeds"]]
    for (part, run, other), rows in contrasts.groupby(["part", "run", "other"], sort=False):
        of_set = {row["set"]: f"{difference(row)} {MARKS[verdict(row)]}" for _, row in rows.iterrows()}
        first = rows.iloc[0]
        size = f"{100 * first['parameters of run'] / first['parameters of other']:.0f}"
        cells = [of_set.get(name, "–") for name in SETS]
        seeds = ", ".join(dict.fromkeys(f"{row['seeds']:.0f}" for _, row in rows.iterrows()))
        lines.append([part, names[run], names[other], *cells, size, seeds])
    return table(lines, ["left"] * 3 + ["right"] * (len(SETS) + 2))


def difference(row: pd.Series) -> str:
    low, high = (signed(row[end]).lstrip("+") for end in ("low", "high"))
    return f"{signed(row['difference'])} [{low}, {high}]"


def results_table(runs: pd.DataFrame, trials: pd.DataFrame, name: str, kept: str, names: dict[str, str]) -> str:
    measured = [f"{name}, %", f"kept: {kept}", "seconds per run", "peak memory (MB)"]
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


def rewrite() -> None:
    """Replace the text between the pages' markers with the current tables, and plot the figures."""
    results = {study: {name: read(study, name) for name in TABLES} for study in KEPT}
    for path, tables in made(results).items():
        files.write_text(path, page(path.read_text(), tables))
    draw_contrasts(overview(results))
    for study, of_study in results.items():
        draw_costs(study, of_study["runs"])
    for figure, sources in figures().items():
        docs_images.stamp(figure, sources)


def costs(study: str) -> Path:
    return IMAGES / f"{study}_cost.png"


def figures() -> dict[Path, list[Path]]:
    """Return the sources of every figure."""
    code = [Path(__file__), docs_images.STYLE]
    runs = {study: RESULTS / f"{study}_runs.csv" for study in KEPT}
    contrasts = [RESULTS / f"{study}_contrasts.csv" for study in KEPT]
    return {CONTRASTS: [*code, *contrasts, *runs.values()]} | {costs(one): [*code, runs[one]] for one in KEPT}


def made(results: dict[str, dict[str, pd.DataFrame]]) -> dict[Path, dict[str, str]]:
    """Return the tables of every page by their names."""
    names, tables = labels(), {}
    for study, of in results.items():
        for name, kept in KEPT[study].items() if study not in ONLY_FIGURES else ():
            tables[f"{study} {name}"] = results_table(of["runs"], of["trials"], name, kept, names)
    return {OVERVIEW: {"overview": overview_table(overview(results), names)}, PAGE: tables}


def page(text: str, tables: dict[str, str]) -> str:
    """Return the page with the current tables."""
    for name, lines in tables.items():
        marked = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        if not marked.search(text):
            sys.exit(f"Expected the marker <!-- table: {name} --> in the page, found none")
        text = marked.sub(lambda found, lines=lines: found[1] + lines + found[2], text)
    return text


def draw_contrasts(contrasts: pd.DataFrame) -> None:
    """Plot the contrasts of all parts as a forest plot, with one panel per set and one row per pair of runs."""
    import matplotlib.pyplot as plt

    from hra_workflow.report.plot_style import SETTINGS, SMALL, WIDTH

    plt.switch_backend("Agg")
    names = labels()
    pairs = list(dict.fromkeys(zip(contrasts["part"], contrasts["run"], contrasts["other"], strict=True)))
    with plt.rc_context(SETTINGS):
        size = (2 * WIDTH, 0.33 * len(pairs) + 1.2)
        figure, axes = plt.subplots(1, len(SETS), figsize=size, layout="constrained", sharey=True)
        for axis, name in zip(axes, SETS, strict=True):
            for _, row in contrasts[contrasts["set"] == name].iterrows():
                place, colour = pairs.index((row["part"], row["run"], row["other"])), VERDICTS[verdict(row)]
                axis.plot([row["low"], row["high"]], [place, place], color=colour)
                axis.plot(row["difference"], place, "o", color=colour)
            axis.axvline(0, color="black", linewidth=1)
            axis.axvspan(-comparison.MARGIN, comparison.MARGIN, color="#dddddd", zorder=0)
            axis.set_title(name, fontsize=10)
            axis.tick_params(labelsize=8)
            for place in range(1, len(pairs)):
                if pairs[place][0] != pairs[place - 1][0]:
                    axis.axhline(place - 0.5, color="#999999", linewidth=0.8)
        axes[0].set_yticks(range(len(pairs)), [f"{part}: {names[run]} − {names[other]}" for part, run, other in pairs])
        axes[0].set_ylim(len(pairs) - 0.5, -0.5)
        looks = {"marker": "o", "linewidth": 1.5}
        handles = [plt.Line2D([], [], color=colour, label=name, **looks) for name, colour in VERDICTS.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=SMALL)
        figure.supxlabel("difference in points, 95 % interval (shaded: within one)", fontsize=SMALL)
        figure.savefig(CONTRASTS, dpi=200)


def draw_costs(study: str, runs: pd.DataFrame) -> None:
    """Plot scores against parameters, seconds and retention, with one column of panels per set."""
    import matplotlib.pyplot as plt

    from hra_workflow.report.plot_style import SETTINGS, SMALL, WIDTH, dot, logarithmic, styles

    plt.switch_backend("Agg")
    names, sets = labels(), KEPT[study]
    with plt.rc_context(SETTINGS):
        trained = runs.loc[runs["parameters"] > 0, "run"].unique()
        tasks = config(study if study in STUDIES else "comparison_b")["tasks"]
        studied = {name: one for name, one in tasks.items() if one}
        looks, shown = styles(trained, colours.of_methods(paper_methods() | {"tasks": studied})), {}
        figure, axes = plt.subplots(
            3,
            len(sets),
            figsize=(0.6 * max(2, len(sets)) * WIDTH, 8.5),
            layout="constrained",
            sharey="col",
            squeeze=False,
        )
        for column_of_set, (name, kept) in zip(axes.T, sets.items(), strict=True):
            of_set = runs[(runs["set"] == name) & (runs["parameters"] > 0)]
            of_set = of_set.assign(seconds=of_set["seconds"].where(is_quiet(of_set)))
            titles = {"parameters": "parameters", "seconds": "seconds per run", "kept": f"kept: {kept} (%)"}
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
        figure.savefig(costs(study), dpi=200)


def main(arguments: list[str]) -> None:
    if len(arguments) not in (0, 2):
        sys.exit((__doc__ or "").strip())
    if arguments:
        collect(*map(Path, arguments))
    rewrite()


if __name__ == "__main__":
    main(sys.argv[1:])
