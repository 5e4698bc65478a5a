"""The notes below the results table: NOTES lists what each is about, and its sentence."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from hra_workflow.core import predictions, records
from hra_workflow.report import column_units, comparison, run_statistics, searches, selections, tuning_results
from hra_workflow.report.markdown_text import plain

Words = Iterable[tuple]  # those of each sentence of a note, for its placeholders; without any, the note does not apply


@dataclass
class Made:
    """A results table and what it is made from.

    pairs: compare_{task}.csv. params: those of table.py. kind: the class of the task. trials: tune_{task}.csv, if there
    is one.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    published: pd.DataFrame
    pairs: pd.DataFrame
    params: dict
    kind: type
    trials: pd.DataFrame | None = None

    def __post_init__(self):
        self.task, self.units = self.params["task"], column_units.units(self.params)
        self.parts, self.columns = column_units.parts(self.params), column_units.single(self.params)
        self.labels = {row["run"]: plain(row["label"]) for row in self.params["rows"]}
        self.source = run_statistics.source_of(self.params)
        self.done = self.runs[self.runs["status"] == "ok"]
        first = self.table[self.table["selection"] == self.params["selections"][0]]
        self.ours = first[first["run"] != ""]
        self.trained = first[first["run"].isin(self.params["trained"])]
        self.bold = [name for name in self.units if (self.table[f"{name}_best"] != "").any()]
        self.searches = searches.table_searches(self.params)
        self.unequal = self.searches.unequal(self.params["trained"], self.units)  # columns


def given(text: str) -> Words:
    return [(text,)] * bool(text)


def trained_on(made: Made) -> Words:
    found = {(one["dataset"], one["benchmark"]) for one in selections.on_training_split(made.params["benchmarks"])}
    return given(
        ", ".join(
            plain(name)
            for name, parts in made.parts.items()
            if any((part["dataset"], part["benchmark"]) in found for part in parts)
        )
    )


def unit_and_seeds(made: Made) -> Words:
    scales = {part["scale"] for part in made.columns}
    unit = {(100,): "Percent", (1,): "Unscaled, not percent"}.get(tuple(scales), "Units as in the column names")
    counts = sorted({count for line in made.params["seeds_expected"].values() for count in line.values()})
    return [(unit, " or ".join(map(str, counts)))]


def reference(made: Made) -> Words:
    best = (
        "the best trained run of the column whose method is not HRA, or without any the base model; `reference` in the "
        "config names a run instead"
    )
    chosen = made.params["verdicts"]
    shown = any((made.table[f"{name}_verdict"] != "").any() for name in chosen["columns"])
    return given(made.labels.get(chosen["reference"], best) if shown else "")


def not_ranked(made: Made) -> Words:
    names = [name for name in made.unequal if (made.trained[name] != "").sum() > 1]
    details = made.searches.describe({run: made.labels[run] for run in made.params["trained"]})
    listed = f" in {', '.join(map(plain, names))}" * (len(names) < len(made.units))
    return [(listed, f" {details}." if details else "")] * bool(names)


def untested(made: Made) -> Words:
    names = set(made.pairs["column"]) - set(made.pairs.loc[made.pairs["p_holm"] != "", "column"]) - set(made.bold)
    return given(", ".join(plain(name) for name in made.units if name in names))


def single_classes(made: Made) -> Words:
    """Find the runs with a checkpoint that predicts the same class for all items, and the number of such seeds."""
    classes, found = made.params["settings"].get("labels", {}), []
    for dataset, benchmark in dict.fromkeys((one["dataset"], one["benchmark"]) for one in made.columns):
        here = made.done[(made.done["dataset"] == dataset) & (made.done["benchmark"] == benchmark)]
        here = here[here["run"].isin(made.labels)] if classes.get(dataset) else here[:0]  # no regression
        for run, rows in here.groupby("run", sort=False):
            seeds = [one_class(made, one, classes[dataset]) for _, one in rows.groupby("seed")]
            if names := " or ".join(sorted(set().union(*seeds))):
                count = f"{sum(map(bool, seeds))} of {len(seeds)} seeds"
                found.append(f"{made.labels[run]} on {plain(f'{dataset} {benchmark} ({names}, {count})')}")
    return given("; ".join(found))


def one_class(made: Made, rows: pd.DataFrame, classes: list[str]) -> set[str]:
    """Return the classes that a checkpoint of a run predicts for every item, if the items have several."""
    path = made.params["metrics"].format(**rows.iloc[0][["task", *run_statistics.RUN, "benchmark"]])
    lines, found = predictions.evaluated(path, records.read(path)), set()
    for selection in set(made.params["selections"]) & set(rows["selection"]):
        labels, predicted = map(
            set, zip(*made.kind.per_item(lines, selection, "", made.params["settings"]), strict=True)
        )
        found |= {classes[one] for one in predicted if len(predicted) == 1 < len(labels)}
    return found


def without_value(made: Made) -> Words:
    empty = run_statistics.without_value(run_statistics.scores(made.runs, made.parts))
    found = {run: [name for name in made.units if run in empty[name]] for run in made.ours["run"]}
    return given("; ".join(f"{made.labels[run]}: {plain(', '.join(names))}" for run, names in found.items() if names))


def presets(made: Made) -> Words:
    found = zip(made.ours["run"], made.ours["preset"], strict=True)
    return [("; ".join(f"{made.labels[run]}: {plain(preset)}" for run, preset in found if preset) or "none yet",)]


def tuning(made: Made) -> Words:
    labels = {row["run"]: row["label"] for row in made.params["rows"]}
    return [] if made.trials is None else zip(tuning_results.notes(made.task, made.trials, labels))


def backends(made: Made) -> Words:
    """Find the backend that generated each run's answers, if a task has them."""
    answered = made.done[made.done["backend"] != ""]
    parts = [
        f"{backend}{f' (`serve: {serve}`)' if serve else ''}: {', '.join(group['run'].unique())}"
        for (backend, serve), group in answered.groupby(["backend", "serve"])
    ]
    return given("; ".join(parts))


def published(made: Made) -> Words:
    if not len(made.published):
        return [("No published counterpart: the model or the data are not the paper's.",)]
    return [(f"Signed numbers in brackets: ours − {made.source['label']}.",), *zip(made.source["notes"])]


def beyond_noise(made: Made) -> Words:
    """Find the differences to the published values that are larger than the noise of these."""
    for name, most in made.source["noise"].items() if len(made.published) else ():
        texts = zip(made.ours["run"], made.ours[f"{name}_difference"], strict=True)
        found = {made.labels[run]: float(text) for run, text in texts if text}
        beyond = [f"{label} {value:+.2f}".replace("-", "−") for label, value in found.items() if abs(value) > most]
        if beyond:
            yield plain(made.source["label"]), plain(name), f"{most:g}", ", ".join(beyond)


def absent(made: Made) -> Words:
    status = made.runs["status"].value_counts()
    counts = [f"{status.get(name, 0)} {name}" for name in ("failed", "missing")]
    counts += [f"{status[name]} {name}" for name in ("outdated", "diverged") if name in status]
    diverged = " A training diverged if its loss or weights became no finite numbers; it is in no mean."
    return [(", ".join(counts[:-1]), counts[-1], made.task, diverged * ("diverged" in status))]


def holes(made: Made) -> Words:
    found = zip(made.ours["run"], made.ours["missing"], strict=True)
    return [(made.labels[run], text.replace("`", "'")) for run, text in found if text]


NOTES: list[tuple[Callable[[Made], Words], str]] = [
    (
        trained_on,
        "**The training rows** are the benchmark of {}, so these scores do not show how a model does on new data.",
    ),
    (
        unit_and_seeds,
        "{}. `mean ± std` over n seeds (sample standard deviation; none for n = 1); the grid has n = {}. `(3/5)` means "
        "that 3 of 5 seeds are available, `–` none; an empty cell is not in the grid. Averages are plain means of the "
        "columns' means; their std is over the seeds that have every column.",
    ),
    (
        lambda made: [(f" without the {made.kind.uncounted}" * bool(made.kind.uncounted),)],
        "`Params (M)`: adapter parameters{}, as PEFT stores them; docs/config/methods.md compares them with the "
        "paper's counts.",
    ),
    (
        reference,
        "Differences: run − reference, which is {}. In brackets: the 95 % interval for these two runs (t, over items "
        "and the seeds that both have; with one seed over items only, and too narrow). p: with Holm's correction for "
        "all pairs of the column, so it may be 0.05 or more although the interval excludes 0. “Equivalent”: two "
        f"one-sided tests show a difference below {comparison.MARGIN:g} point, with the same correction. Without p: "
        f"fewer than {comparison.SEEDS} common seeds, a metric of all items together (FID, mIoU), or no equal searches "
        "(docs/statistics.md).",
    ),
    (
        not_ranked,
        "**No ranking of methods**{}: no equal search chose the hyper-parameters of these runs, so no value is bold, "
        "and other settings may reverse a difference (docs/statistics.md).{}",
    ),
    (
        lambda made: [(made.task,)] * bool(made.bold),
        "**Bold**: the best of our trained runs, and those whose difference to it is not significant at 5 %, but no "
        "score of 0 that is the worst of its column. `compare_{}.csv` has every pair. A metric that is not computed "
        "from items (FID, mIoU) has no bold value.",
    ),
    (
        untested,
        "No value is bold in {}: differences are tested only between runs that share at least "
        f"{comparison.SEEDS} seeds, since fewer do not show how much seeds differ.",
    ),
    (single_classes, "**One class** for every item: {}. Such a score is the fraction of that class."),
    (
        without_value,
        "Evaluated without a value, so empty too (the metric does not apply to the run, or no image could be scored, "
        "for example because no face was found): {}.",
    ),
    (presets, "Hyper-parameter presets: {}."),
    (tuning, "{}"),
    (backends, "Answers by {}."),
    (published, "{}"),
    (
        beyond_noise,
        "**Not the protocol of {}, or chance**: in {}, these differ from its values by more than its noise of ± {}: {}."
        " Compare our runs with one another, not with its.",
    ),
    (absent, "{} and {} result(s) (`runs_{}.csv`).{}"),
    (holes, "Missing results for {}: `{}`"),
]


def lines(made: Made) -> list[str]:
    """Return the notes that readers need to compare numbers, in Markdown."""
    return [sentence.format(*words) for find, sentence in NOTES for words in find(made)]
