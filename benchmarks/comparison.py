"""The study of docs/comparison-design.md: from its results to the tables and figures of docs/comparison.md.

    make demo TASK=comparison DATA=../shared/data                     the study
    python -m benchmarks.comparison demo/comparison ../shared/data    collect it in 15 minutes, and rewrite the page
    python -m benchmarks.comparison                                   rewrite it from results/comparison_*.csv

A run of the study without a final record is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from benchmarks import sentence_embeddings
from hra_workflow import methods, tasks
from hra_workflow.core import files, predictions, records
from hra_workflow.report import comparison
from hra_workflow.report.markdown_text import Bold, table

ROOT = Path(__file__).parents[1]
RESULTS, PAGE, IMAGES = ROOT / "benchmarks/results", ROOT / "docs/comparison.md", ROOT / "docs/images"
CONFIGS = [ROOT / f"config/{name}.yaml" for name in ("methods", "demo/comparison")]


class Set(NamedTuple):
    """Where the scores of a data set are. kept: what a run has not forgotten, and its benchmark, if any."""

    task: str
    dataset: str
    benchmark: str
    metric: str
    kept: str
    kept_benchmark: str | None


SETS = {  # by the name on the page
    "word problems": Set("math", "word-problems", "test", "strict", "one-step problems", "one_step"),
    "SST-2": Set("glue", "sst2-sentences", "validation", "accuracy", "STS-B by cosine", None),
}
CONTRASTS = [  # of the design, with Holm's correction over those of a set
    ("hra/r8-sd", "hra/r8"),
    ("hra/r8", "lora/r4-alpha8"),
    ("hra/r8", "lora/r8"),
    ("hra/r8-sd", "lora/r4-alpha8"),
    ("hra/r8-sd", "lora/r8"),
]
QUIET = 0.9  # share of its core that a run whose seconds count must have had
VERDICTS = {"better": "#009E73", "worse": "#D55E00", "same level": "#0072B2", "undecided": "#666666"}


def labels() -> dict[str, str]:
    """Return the label of every `method/variant`."""
    found = {}
    for config in CONFIGS:
        for method, entry in yaml.safe_load(config.read_text())["methods"].items():
            found |= {f"{method}/{variant}": one["label"] for variant, one in entry["variants"].items()}
    return {run: label.replace(", λ=0", "") for run, label in found.items()}


# Collect


def collect(study: Path, data: Path) -> None:
    """Read a finished study and write benchmarks/results/comparison_{runs,trials,contrasts}.csv."""
    runs, trials, contrasts = [], [], []
    for name, one in SETS.items():
        settings = yaml.safe_load(CONFIGS[-1].read_text())["tasks"][one.task]
        folder, scored = study / "results" / one.task / one.dataset, {}
        for part in settings["grid"]:
            for run in part["runs"]:
                for seed in part["seeds"]:
                    row, values = final_run(folder / run / f"seed{seed}", one)
                    runs.append({"set": name, "run": run, "seed": seed} | row)
                    scored.setdefault(run, {})[seed] = values
        contrasts += compare(name, scored, tasks.classes()[one.task].table.statistic(one.metric))
        tried = pd.read_csv(study / "results" / f"tune_{one.task}.csv")
        for _, trial in tried.iterrows():
            run = f"{trial['method']}/{trial['variant']}"
            kept = {key: trial[key] for key in ("learning_rate", "metric", "score", "status", "chosen")}
            trials.append({"set": name, "run": run} | kept)
    runs += sentence_embeddings.of_study(study, data, [row for row in runs if SETS[row["set"]].kept_benchmark is None])
    for name, rows in (("runs", runs), ("trials", trials), ("contrasts", contrasts)):
        files.write_text(
            RESULTS / f"comparison_{name}.csv", pd.DataFrame(rows).to_csv(index=False, float_format="%.6g")
        )


def final_run(folder: Path, of: Set) -> tuple[dict, list]:
    """Return a final run's row and its values per item; a run without a final record ends the program."""
    if not (folder / "train.json").exists():
        sys.exit(f"{folder}: expected the record of a finished run, found none. Run the study to its end")
    record = records.read(folder / "train.json")
    if record["status"] != "ok":
        sys.exit(f"{folder}: expected a finished run, found one that {record['status']}: {record.get('error')}")
    lines = predictions.read(folder / of.benchmark / "predictions.jsonl.gz")
    row = {
        "score": percent(folder, of.benchmark, of.metric),
        "parameters": record["adapter_parameters"],
        "learning_rate": record["hyperparameters"].get("learning_rate"),
        "seconds": record["seconds"],
        "cpu_share": record.get("cpu_share"),
        "attempts": record["attempts"],  # the seconds of one that was killed are unknown
        "memory_mb": record["peak_memory_bytes"] / 2**20,
        "commit": record["commit"],
    }
    if of.kept_benchmark:
        row["kept"] = percent(folder, of.kept_benchmark, of.metric)
    return row, tasks.classes()[of.task].table.per_item(lines, "last", of.metric, {})


def percent(run: Path, benchmark: str, metric: str) -> float:
    """Return a metric of a run's last weights on a benchmark."""
    return 100 * records.read(run / benchmark / "metrics.json")["selections"]["last"]["metrics"][metric]["value"]


def compare(name: str, scored: dict, statistic) -> list[dict]:
    """Compute the contrasts of one set, with Holm's correction."""
    compared = {run: scored[run] for pair in CONTRASTS for run in pair}
    arrays = {run: {seed: np.array(values, float) for seed, values in of.items()} for run, of in compared.items()}
    estimates = comparison.estimate(arrays, statistic)
    found = [comparison.difference(estimates, *pair, sorted(estimates.value[pair[0]])) for pair in CONTRASTS]
    p = comparison.holm([one.p for one in found])
    equivalent = comparison.holm([one.p_equivalent(comparison.MARGIN / 100) for one in found])
    return [
        {
            "set": name, "run": first, "other": second, "difference": 100 * one.value,
            "low": 100 * one.interval[0], "high": 100 * one.interval[1], "p": one.p, "p_holm": a, "p_equivalent": b,
            "items": one.items, "seeds": one.seeds,
        }
        for (first, second), one, a, b in zip(CONTRASTS, found, p, equivalent, strict=True)
    ]  # fmt: skip


# The page


def verdict(row: pd.Series) -> str:
    """Say what a contrast decides, by the rule of the design."""
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


def results_table(runs: pd.DataFrame, trials: pd.DataFrame, name: str, names: dict[str, str]) -> str:
    measured = [f"{name}, %", f"kept: {SETS[name].kept}", "seconds per run", "peak memory (MB)"]
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
    """Return which runs had a core to themselves, from the first step to the last."""
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


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"comparison_{name}.csv")


def rewrite() -> None:
    """Replace what stands between the page's markers with today's tables, and draw the figures."""
    runs, trials, contrasts = map(read, ("runs", "trials", "contrasts"))
    files.write_text(PAGE, page(PAGE.read_text(), runs, trials, contrasts))
    draw(runs, contrasts)


def page(text: str, runs: pd.DataFrame, trials: pd.DataFrame, contrasts: pd.DataFrame) -> str:
    """Return the page with its tables made anew."""
    names = labels()
    made = {"contrasts": contrasts_table(contrasts, names), "trials": trials_table(trials, names)}
    made |= {name: results_table(runs, trials, name, names) for name in SETS}
    for name, lines in made.items():
        marked = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        if not marked.search(text):
            sys.exit(f"{PAGE}: expected the marker <!-- table: {name} -->, found none")
        text = marked.sub(lambda found, lines=lines: found[1] + lines + found[2], text)
    return text


def draw(runs: pd.DataFrame, contrasts: pd.DataFrame) -> None:
    """Draw the forest plot of the contrasts, and score against parameters, seconds and what is kept."""
    import matplotlib.pyplot as plt

    from hra_workflow.report.plot_style import SETTINGS, dot, styles

    plt.switch_backend("Agg")
    names = labels()
    with plt.rc_context(SETTINGS):
        figure, axes = plt.subplots(1, len(SETS), figsize=(11, 3.2), layout="constrained", sharey=True)
        for axis, name in zip(axes, SETS, strict=True):
            rows = contrasts[contrasts["set"] == name].reset_index()
            for place, row in rows.iterrows():
                colour = VERDICTS[verdict(row)]
                axis.plot([row["low"], row["high"]], [place, place], color=colour)
                axis.plot(row["difference"], place, "o", color=colour)
                text = {"color": colour, "ha": "center", "fontsize": 8}
                axis.annotate(verdict(row), (row["difference"], place), (0, 6), textcoords="offset points", **text)
            axis.axvline(0, color="black", linewidth=1)
            axis.axvspan(-comparison.MARGIN, comparison.MARGIN, color="#dddddd", zorder=0)
            axis.set_yticks(
                range(len(rows)), [f"{names[row['run']]}\n− {names[row['other']]}" for _, row in rows.iterrows()]
            )
            axis.set_title(name, fontsize=10)
            axis.set_xlabel("difference in points, 95 % interval (shaded: within one)", fontsize=9)
            axis.set_ylim(len(rows) - 0.5, -0.6)
        figure.savefig(IMAGES / "comparison_forest.png", dpi=150)
        trained = runs.loc[runs["parameters"] > 0, "run"].unique()
        looks, shown = styles(trained, {name: entry.colour for name, entry in methods.METHODS.items()}), {}
        figure, axes = plt.subplots(len(SETS), 3, figsize=(11, 6.4), layout="constrained", sharey="row")
        for row, name in zip(axes, SETS, strict=True):
            of_set = runs[(runs["set"] == name) & (runs["parameters"] > 0)]
            of_set = of_set.assign(seconds=of_set["seconds"].where(is_quiet(of_set)))
            titles = {"parameters": "parameters", "seconds": "seconds per run", "kept": f"kept: {SETS[name].kept} (%)"}
            for axis, (column, title) in zip(row, titles.items(), strict=True):
                for run, rows in of_set.groupby("run", sort=False):
                    x, y = rows[column].mean(), rows["score"]
                    if not pd.isna(x):
                        shown[run] = dot(axis, x, y.mean(), names[run], looks[run], yerr=y.std())
                axis.set_xlabel(title)
            row[0].set_ylabel(f"{name} (%)")
            row[0].xaxis.set_major_formatter("{x:,.0f}")
            row[0].locator_params(axis="x", nbins=5)
        figure.legend(handles=list(shown.values()), loc="outside lower center", ncols=4)
        figure.savefig(IMAGES / "comparison_cost.png", dpi=150)


def main(arguments: list[str]) -> None:
    if len(arguments) not in (0, 2):
        sys.exit((__doc__ or "").strip())
    if arguments:
        collect(*map(Path, arguments))
    rewrite()


if __name__ == "__main__":
    main(sys.argv[1:])
