"""The notes below the results table: a list of functions, each of which yields its sentences where they apply."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from hra_workflow.core import made_from
from hra_workflow.report import (
    column_units,
    comparison,
    one_class,
    run_statistics,
    searches,
    tuning_results,
    unseen,
)
from hra_workflow.report.markdown_text import plain


@dataclass
class Made:
    """A results table and what it is made from.

    pairs: compare_{task}.csv. params: those of table.py. kind: the class of the task. leaked: (dataset,
    benchmark) -> data.leaks.Leak. warnings: those of data cards. trials: tune_{task}.csv, if there is one.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    published: pd.DataFrame
    pairs: pd.DataFrame
    params: dict
    kind: type
    leaked: dict
    warnings: list[str]
    trials: pd.DataFrame | None = None

    def __post_init__(self):
        self.units = column_units.units(self.params)
        self.labels = {row["run"]: plain(row["label"]) for row in self.params["rows"]}
        self.source = run_statistics.source_of(self.params)
        self.done = self.runs[self.runs["status"] == "ok"]
        first = self.table[self.table["selection"] == self.params["selections"][0]]
        self.ours = first[first["run"] != ""]
        self.trained = first[first["run"].isin(self.params["trained"])]
        self.bold = [name for name in self.units if (self.table[f"{name}_best"] != "").any()]

    @cached_property
    def unequal(self) -> list[str]:
        """Return the columns in which not all runs had equal searches."""
        return searches.table_searches(self.params).unequal(self.params["trained"], self.units)


def rows_that_are_trained_on(made: Made) -> Iterator[str]:
    found = unseen.leaked_columns(made.leaked, made.params)
    if parts := [f"{plain(name)}: {' and '.join(map(str, leaked))}" for name, leaked in found.items()]:
        yield (
            f"**Rows that are trained on** are in {'; '.join(parts)}. `, unseen` after a column is the score without "
            "them, by the same metric; `–`: it cannot be computed (a metric of all items together, no row is left, or "
            "a data card of other files). Verdicts, bold values and published values are on all rows."
        )


def cells(made: Made) -> Iterator[str]:
    scales = {part["scale"] for part in column_units.single(made.params)}
    unit = {(100,): "Percent", (1,): "Unscaled, not percent"}.get(tuple(scales), "Units as in the column names")
    counts = sorted({count for line in made.params["seeds_expected"].values() for count in line.values()})
    yield (
        f"{unit}. `mean ± std` over n seeds (sample standard deviation; none for n = 1); the grid has "
        f"n = {' or '.join(map(str, counts))}. `(3/5)` means that 3 of 5 seeds are available, `–` none; an empty "
        "cell is not in the grid. Averages are plain means of the columns' means; their std is over the seeds that "
        "have every column."
    )


def parameters(made: Made) -> Iterator[str]:
    without = f" without the {made.kind.uncounted}" * bool(made.kind.uncounted)
    yield (
        f"`Params (M)`: adapter parameters{without}, as PEFT stores them; docs/parameters.md compares them with the "
        "paper's counts."
    )


def differences(made: Made) -> Iterator[str]:
    best = (
        "the best trained run of the column whose method is not HRA, or without any the base model; `reference` in the "
        "config names a run instead"
    )
    if any((made.table[f"{name}_verdict"] != "").any() for name in made.params["verdicts"]["columns"]):
        yield (
            f"Differences: run − reference, which is {made.labels.get(made.params['verdicts']['reference'], best)}. In "
            "brackets: the 95 % interval for these two runs (t, over items and the seeds that both have; with one seed "
            "over items only, and too narrow). p: with Holm's correction for all pairs of the column, so it may be "
            "0.05 or more although the interval excludes 0. “Equivalent”: two one-sided tests show a difference below "
            f"{comparison.MARGIN:g} point, with the same correction. Without p: fewer than {comparison.SEEDS} common "
            "seeds, a metric of all items together (FID, mIoU), or no equal searches (docs/statistics.md)."
        )


def no_ranking(made: Made) -> Iterator[str]:
    names = [name for name in made.unequal if (made.trained[name] != "").sum() > 1]
    labels = {run: made.labels[run] for run in made.params["trained"]}
    details = searches.table_searches(made.params).describe(labels)
    details = f" {details}." if details else ""
    listed = f" in {', '.join(map(plain, names))}" * (len(names) < len(made.units))
    if names:
        yield (
            f"**No ranking of methods**{listed}: no equal search chose the hyper-parameters of these runs, so no value "
            f"is bold, and other settings may reverse a difference (docs/statistics.md).{details}"
        )


def bold_values(made: Made) -> Iterator[str]:
    if made.bold:
        yield (
            "**Bold**: the best of our trained runs, and those whose difference to it is not significant at 5 %, but "
            f"no score of 0 that is the worst of its column. `compare_{made.params['task']}.csv` has every pair. A "
            "metric that is not computed from items (FID, mIoU) has no bold value."
        )


def few_seeds(made: Made) -> Iterator[str]:
    untested = set(made.pairs["column"]) - set(made.pairs.loc[made.pairs["p_holm"] != "", "column"])
    if names := [plain(name) for name in made.units if name in untested - set(made.bold)]:
        yield (
            f"No value is bold in {', '.join(names)}: differences are tested only between runs that share at least "
            f"{comparison.SEEDS} seeds, since fewer do not show how much seeds differ."
        )


def missing_tests(made: Made) -> Iterator[str]:
    """Name the missing test of each column that has no value in bold although some of its runs were tested."""
    found: dict[str, list[str]] = {}
    first = made.pairs[made.pairs["selection"] == made.params["selections"][0]]
    for name in (name for name in made.units if name not in {*made.bold, *made.unequal}):
        rows = made.trained[made.trained[name] != ""]
        p = comparison.tests(first[first["column"] == name])
        means = dict(zip(rows["run"], pd.to_numeric(rows[name]), strict=True))
        if not p or len(means) < 2:
            continue
        best = (min if made.units[name].lower else max)(means, key=means.__getitem__)
        if without := [made.labels[run] for run in means if run != best and frozenset((best, run)) not in p]:
            reason = f"{made.labels[best]}, the best, was not tested against {', '.join(without)}"
            found.setdefault(reason, []).append(plain(name))
    for reason, listed in found.items():
        yield (
            f"No value is bold in {', '.join(listed)}, although some differences were tested: {reason}, with which it "
            f"shares fewer than {comparison.SEEDS} seeds. So it is unknown which runs are as good as the best."
        )


def one_class_for_every_item(made: Made) -> Iterator[str]:
    found = one_class.find(made.runs, made.kind, made.params).items()
    every = [
        f"{made.labels[run]} on {plain(f'{dataset} {benchmark} ({text})')}"
        for (run, dataset, benchmark), text in found
        if run in made.labels
    ]
    if every:
        yield f"**One class** for every item: {'; '.join(every)}. Such a score is the fraction of that class."


def without_value(made: Made) -> Iterator[str]:
    empty = run_statistics.without_value(run_statistics.scores(made.runs, column_units.parts(made.params)))
    found = {run: [name for name in made.units if run in empty[name]] for run in made.ours["run"]}
    listed = "; ".join(f"{made.labels[run]}: {plain(', '.join(names))}" for run, names in found.items() if names)
    if listed:
        yield (
            "Evaluated without a value, so empty too (the metric does not apply to the run, or no image could be "
            f"scored, for example because no face was found): {listed}."
        )


def presets(made: Made) -> Iterator[str]:
    found = zip(made.ours["run"], made.ours["preset"], strict=True)
    listed = "; ".join(f"{made.labels[run]}: {plain(preset)}" for run, preset in found if preset)
    yield f"Hyper-parameter presets: {listed or 'none yet'}."


def tuning(made: Made) -> Iterator[str]:
    if made.trials is not None:
        labels = {row["run"]: row["label"] for row in made.params["rows"]}
        yield from tuning_results.notes(made.params["task"], made.trials, labels)


def mixed_versions(made: Made) -> Iterator[str]:
    """Name the runs whose means are over training runs with several versions of a library."""
    found = []
    for run, group in made.done.groupby("run", sort=False):
        installed = [dict(one.split("=") for one in text.split(";")) for text in group["versions"].unique()]
        for name in made_from.PACKAGES:
            several = sorted({".".join(one[name].split(".")[:2]) for one in installed if name in one})
            found += [f"{run} ({name} {', '.join(several)})"] * (len(several) > 1)
    if found:
        yield f"**Mixed versions** within one row, so that its means combine them: {', '.join(found)}."


def backends(made: Made) -> Iterator[str]:
    """Name the backend that generated each run's answers, if a task has them."""
    answered = made.done[made.done["backend"] != ""]
    parts = [
        f"{backend}{f' (`serve: {serve}`)' if serve else ''}: {', '.join(group['run'].unique())}"
        for (backend, serve), group in answered.groupby(["backend", "serve"])
    ]
    several = "**Several backends**, which round differently. " * (answered["backend"].nunique() > 1)
    if parts:
        yield f"{several}Answers by {'; '.join(parts)}."


def data(made: Made) -> Iterator[str]:
    if made.warnings:
        yield f"**Data**: {plain('. '.join(made.warnings))}."


def uncommitted(made: Made) -> Iterator[str]:
    if len(dirty := made.done.loc[made.done["dirty"] == "true", run_statistics.RUN].drop_duplicates()):
        yield f"{len(dirty)} run(s) had uncommitted changes (`dirty` in the run table)."


def unmarked(made: Made) -> Iterator[str]:
    if datasets := made.params.get("never_marked"):
        yield (
            f"**`strict` stays near 0** for runs on {', '.join(datasets)}: that data does not contain “The answer "
            "is: ”, after which `strict` expects the answer. Compare `lenient`."
        )


def published(made: Made) -> Iterator[str]:
    if len(made.published):
        yield f"Signed numbers in brackets: ours − {made.source['label']}."
        yield from made.source["notes"]
    else:
        yield "No published counterpart: the model or the data are not the paper's."


def noise(made: Made) -> Iterator[str]:
    """Say per column whether our runs differ from the published ones by more than the source's noise."""
    for name, most in made.source["noise"].items() if len(made.published) else ():
        texts = zip(made.ours["run"], made.ours[f"{name}_difference"], strict=True)
        found = {run: float(text) for run, text in texts if text}
        beyond = [f"{made.labels[run]} {value:+.2f}" for run, value in found.items() if abs(value) > most]
        if beyond:
            listed = ", ".join(beyond).replace("-", "−")
            yield (
                f"**Not the protocol of {plain(made.source['label'])}, or chance**: in {plain(name)}, these differ "
                f"from its values by more than its noise of ± {most:g}: {listed}. Compare our runs with one another, "
                "not with its."
            )
        elif found:
            yield (
                f"In {plain(name)}, {', '.join(made.labels[run] for run in found)} are within the noise of "
                f"{plain(made.source['label'])}, ± {most:g}: the protocols agree as far as these runs can show."
            )


def absent(made: Made) -> Iterator[str]:
    status = made.runs["status"].value_counts()
    counts = [f"{status.get(name, 0)} {name}" for name in ("failed", "missing")]
    counts += [f"{status[name]} {name}" for name in ("outdated", "diverged") if name in status]
    diverged = " A training diverged if its loss or weights became no finite numbers; it is in no mean."
    listed = f"{', '.join(counts[:-1])} and {counts[-1]} result(s) (`runs_{made.params['task']}.csv`)."
    yield listed + diverged * ("diverged" in status)
    for run, text in zip(made.ours["run"], made.ours["missing"], strict=True):
        if text:
            yield f"Missing results for {made.labels[run]}: `{text.replace('`', chr(39))}`"


NOTES: tuple[Callable[[Made], Iterator[str]], ...] = (
    rows_that_are_trained_on,
    cells,
    parameters,
    differences,
    no_ranking,
    bold_values,
    few_seeds,
    missing_tests,
    one_class_for_every_item,
    without_value,
    presets,
    tuning,
    mixed_versions,
    backends,
    data,
    uncommitted,
    unmarked,
    published,
    noise,
    absent,
)


def lines(made: Made) -> list[str]:
    """Return the notes that readers need to compare numbers, in Markdown."""
    return [line for note in NOTES for line in note(made)]
