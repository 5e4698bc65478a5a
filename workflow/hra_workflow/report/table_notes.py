"""Notes of the results table that only some tables have."""

import pandas as pd

from hra_workflow.core import made_from
from hra_workflow.report import column_units, comparison, run_statistics
from hra_workflow.report.markdown_text import plain

SEEN = "**Rows that are trained on**"


def differences(reference: str) -> str:
    """Explain the differences to the reference. reference: the config's label, or "" for the best baseline."""
    best = (
        "the best trained run of the column whose method is not HRA, or without any the base model; `reference` in the "
        "config names a run instead"
    )
    return (
        f"Differences: run − reference, which is {plain(reference) or best}. In brackets: the 95 % interval for these "
        "two runs (t, over items and the seeds that both have; with one seed over items only, and too narrow). p: with "
        "Holm's correction for all pairs of the column, so it may be 0.05 or more although the interval excludes 0. "
        f"“Equivalent”: two one-sided tests show a difference below {comparison.MARGIN:g} point, with the "
        f"same correction. Without p: fewer than {comparison.SEEDS} common seeds, a metric of all items together (FID, "
        "mIoU), or no equal searches (docs/statistics.md)."
    )


def not_ranked(unequal: list[str], names: list[str], text: str) -> list[str]:
    """Say in which of the columns a difference is no ranking of methods. text: searches.Searches.describe."""
    listed = f" in {', '.join(map(plain, unequal))}" * (len(unequal) < len(names))
    return [
        f"**No ranking of methods**{listed}: no equal search chose the hyper-parameters of these runs, so no value is "
        f"bold, and other settings may reverse a difference (docs/statistics.md)." + f" {plain(text)}." * bool(text)
    ] * bool(unequal)


def compared(task: str, names: list[str], pairs: pd.DataFrame, bold: list[str]) -> list[str]:
    """Explain the values in bold, and columns without any although their runs are compared.

    names: the names of the columns and averages. pairs: the rows of compare_{task}.csv. bold: the columns with values
    in bold.
    """
    lines = []
    if bold:
        lines.append(
            "**Bold**: the best of our trained runs, and those whose difference to it is not significant at 5 %, but "
            f"no score of 0 that is the worst of its column. `compare_{task}.csv` has every pair. A metric that is not "
            "computed from items (FID, mIoU) has no bold value."
        )
    untested = set(pairs["column"]) - set(pairs.loc[pairs["p_holm"] != "", "column"])
    if listed := [plain(name) for name in names if name in untested - set(bold)]:
        lines.append(
            f"No value is bold in {', '.join(listed)}: differences are tested only between runs that share at least "
            f"{comparison.SEEDS} seeds, since fewer do not show how much seeds differ."
        )
    return lines


def not_bold(table: pd.DataFrame, pairs: pd.DataFrame, names: list[str], params: dict) -> list[str]:
    """Name the missing test of each column that has no value in bold although some of its runs were tested.

    params: those of table.py.
    """
    labels = {row["run"]: plain(row["label"]) for row in params["rows"]}
    units = column_units.units(params)
    own = table[(table["selection"] == params["selections"][0]) & table["run"].isin(params["trained"])]
    found: dict[str, list[str]] = {}
    for name in names if len(pairs) else ():
        rows = own[own[name] != ""]
        tested = pairs[(pairs["column"] == name) & (pairs["selection"] == params["selections"][0])]
        p, means = comparison.tests(tested), dict(zip(rows["run"], pd.to_numeric(rows[name]), strict=True))
        if not p or len(means) < 2:
            continue
        best = (min if units[name].lower else max)(means, key=means.__getitem__)
        if without := [labels[run] for run in means if run != best and frozenset((best, run)) not in p]:
            reason = f"{labels[best]}, the best, was not tested against {', '.join(without)}"
            found.setdefault(reason, []).append(plain(name))
    return [
        f"No value is bold in {', '.join(listed)}, although some differences were tested: {reason}, with which it "
        f"shares fewer than {comparison.SEEDS} seeds. So it is unknown which runs are as good as the best."
        for reason, listed in found.items()
    ]


def one_class(found: dict[tuple[str, str, str], str], labels: dict[str, str]) -> list[str]:
    """Name the runs that predict one class. found: of one_class.find. labels: the labels by `method/variant`."""
    every = [
        f"{labels[run]} on {dataset} {benchmark} ({text})"
        for (run, dataset, benchmark), text in found.items()
        if run in labels
    ]
    return [
        f"**One class** for every item: {plain('; '.join(every))}. Such a score is the fraction of that class."
    ] * bool(every)


def uncommitted(done: pd.DataFrame) -> list[str]:
    """Count the finished runs whose code was not committed."""
    dirty = done.loc[done["dirty"] == "true", run_statistics.RUN].drop_duplicates()
    return [f"{len(dirty)} run(s) had uncommitted changes (`dirty` in the run table)."] if len(dirty) else []


def unmarked(datasets: list[str] | None) -> list[str]:
    """Name the datasets whose answers lack the marks that `strict` expects."""
    if not datasets:
        return []
    return [
        f"**`strict` stays near 0** for runs on {', '.join(datasets)}: that data does not contain “The answer is: ”, "
        "after which `strict` expects the answer. Compare `lenient`."
    ]


def noise(best: pd.DataFrame, labels: dict[str, str], source: dict) -> list[str]:
    """Describe per column whether our runs differ from the published ones by more than the source's noise.

    best: the rows of our runs. labels: the labels by `method/variant`. source: that of tasks.table.Table.published.
    """
    lines = []
    for name, most in source["noise"].items():
        found = {
            row["run"]: float(row[f"{name}_difference"]) for _, row in best.iterrows() if row[f"{name}_difference"]
        }
        beyond = [f"{labels[run]} {value:+.2f}".replace("-", "−") for run, value in found.items() if abs(value) > most]
        if beyond:
            lines.append(
                f"**Not the protocol of {plain(source['label'])}, or chance**: in {plain(name)}, these differ from its "
                f"values by more than its noise of ± {most:g}: {plain(', '.join(beyond))}. Compare our runs with one "
                "another, not with its."
            )
        elif found:
            lines.append(
                f"In {plain(name)}, {plain(', '.join(labels[run] for run in found))} are within the noise of "
                f"{plain(source['label'])}, ± {most:g}: the protocols agree as far as these runs can show."
            )
    return lines


def data(warnings: list[str]) -> list[str]:
    """List the warnings of the datasets' cards, such as rows that are in training and evaluation data."""
    return [f"**Data**: {plain('. '.join(warnings))}."] * bool(warnings)


def unseen(leaked: dict[str, list]) -> list[str]:
    """Explain the columns of scores on unseen rows. leaked: column or average -> the data.leaks.Leak in it."""
    parts = [f"{plain(name)}: {' and '.join(map(str, found))}" for name, found in leaked.items()]
    return [
        f"{SEEN} are in {'; '.join(parts)}. `, unseen` after a column is the score without "
        "them, by the same metric; `–`: it cannot be computed (a metric of all items together, no row is left, or a "
        "data card of other files). Verdicts, bold values and published values are on all rows."
    ] * bool(parts)


def unscored(empty: dict[str, set[str]], labels: dict[str, str]) -> list[str]:
    """Name the runs without a value per column or average (run_statistics.without_value). labels: of the rows."""
    found = {label: [name for name, runs in empty.items() if run in runs] for run, label in labels.items()}
    listed = "; ".join(f"{label}: {', '.join(names)}" for label, names in found.items() if names)
    return [
        "Evaluated without a value, so empty too (the metric does not apply to the run, or no image could be scored, "
        f"for example because no face was found): {plain(listed)}."
    ] * bool(listed)


def absent(task: str, status: pd.Series) -> str:
    """Count the results of the run table that are in no mean, with the reasons."""
    counts = [f"{int((status == name).sum())} {name}" for name in ("failed", "missing")]
    counts += [f"{count} {name}" for name in ("outdated", "diverged") if (count := int((status == name).sum()))]
    text = f"{', '.join(counts[:-1])} and {counts[-1]} result(s) (`runs_{task}.csv`)."
    if "diverged" in set(status):
        text += " A training diverged if its loss or weights became no finite numbers; it is in no mean."
    return text


def mixed(done: pd.DataFrame) -> list[str]:
    """Name the runs whose means are over training runs with several versions of a library."""
    found = []
    for run, group in done.groupby("run", sort=False):
        installed = [dict(one.split("=") for one in text.split(";")) for text in group["versions"].unique()]
        for name in made_from.PACKAGES:
            several = sorted({".".join(one[name].split(".")[:2]) for one in installed if name in one})
            found += [f"{run} ({name} {', '.join(several)})"] * (len(several) > 1)
    return [f"**Mixed versions** within one row, so that its means combine them: {', '.join(found)}."] * bool(found)


def answered(done: pd.DataFrame) -> list[str]:
    """Name the backend that generated each run's answers; [] for a task without generated answers."""
    done = done[done["backend"] != ""]
    parts = [
        f"{backend}{f' (`serve: {serve}`)' if serve else ''}: {', '.join(group['run'].unique())}"
        for (backend, serve), group in done.groupby(["backend", "serve"])
    ]
    several = done["backend"].nunique() > 1
    text = f"{'**Several backends**, which round differently. ' * several}Answers by {'; '.join(parts)}."
    return [text] * bool(parts)
