"""Differences between trained runs and a reference run, as sentences and as table cells.

The numbers are from compare_{task}.csv; a difference that is missing there is computed from the table, without an
interval.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from hra_workflow.core.wording import plural
from hra_workflow.report import comparison, markdown_text, run_statistics, searches
from hra_workflow.report.column_units import Unit

FEW_ITEMS = 30  # an interval from fewer seeds is rough


@dataclass(frozen=True)
class Verdict:
    """The difference run − reference in one column, in its unit. NaN: no interval, or not tested.

    scores: the means of both. single: each is of one training run. unequal: why it is no ranking
    (report/searches.py); p is then only in compare_{task}.csv.
    """

    run: str
    reference: str
    scores: tuple[float, float]
    value: float
    interval: tuple[float, float] = (math.nan, math.nan)
    p: float = math.nan
    seeds: int = 0
    items: int = 0
    p_equivalent: float = math.nan  # p of a difference below comparison.MARGIN points
    single: bool = False
    unequal: str = ""

    def sentence(self, labels: dict[str, str], unit: Unit) -> str:
        """Write `LoRA: 80.00; HRA: 76.00 (+4.00 [0.20, 7.80], p = 0.120, not significant)`.

        Not tested, or without equal searches: `LoRA: 80.00; HRA: 76.00 (one run each, rates not tuned)`.
        """
        pairs = zip((self.run, self.reference), self.scores, strict=True)
        both = "; ".join(f"{labels[run]}: {run_statistics.number(score, unit.digits)}" for run, score in pairs)
        return f"{both} ({', '.join(self.facts(unit))})"

    def facts(self, unit: Unit) -> Iterable[str]:
        """Yield the result of the test, or what the comparison lacks; details are in the notes of the table."""
        if self.unequal or math.isnan(self.p):
            few = 0 < self.seeds < comparison.SEEDS
            yield from ["one run each" if self.single else plural(self.seeds, "common seed")] * (self.single or few)
            yield from ["not tested"] * (math.isnan(self.p) and not (self.single or few))
        else:
            yield self.cell(unit)
            yield f"{'not ' * (self.p >= comparison.LEVEL)}significant"
            if self.p_equivalent < comparison.LEVEL:
                yield f"equivalent within {comparison.MARGIN:g} point: {p_text(self.p_equivalent)}"
        yield from [self.unequal] * bool(self.unequal)
        yield from ["lower is better"] * unit.lower
        yield from [f"only {self.items} items"] * (0 < self.items < FEW_ITEMS)

    def cell(self, unit: Unit) -> str:
        """Write `+4.00 [0.00, 7.80], p = 0.120`, without p if no equal searches chose the hyper-parameters."""
        text = f"{round(self.value, unit.digits) + 0.0:+.{unit.digits}f}".replace("-", "−") + self.range_text(unit)
        return text if math.isnan(self.p) or self.unequal else f"{text}, {p_text(self.p)}"

    def range_text(self, unit: Unit) -> str:
        if math.isnan(self.interval[0]):
            return ""
        low, high = (f"{round(end, unit.digits) + 0.0:.{unit.digits}f}" for end in self.interval)
        return f" [{low}, {high}]".replace("-", "−")


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def reference(means: dict[str, float], params: dict, unit: Unit) -> str | None:
    """Return the config's reference, or the best baseline; None if it has no value.

    means: by run, in one column. params: those of tasks.outputs.verdicts.
    """
    candidates = [params["reference"]] if params["reference"] else params["baselines"]
    best = min if unit.lower else max
    return best((run for run in candidates if run in means), key=means.__getitem__, default=None)


def compare(
    table: pd.DataFrame, pairs: pd.DataFrame, units: dict[str, Unit], params: dict
) -> tuple[pd.DataFrame, dict[tuple[str, str], list[Verdict]]]:
    """Return the table with best runs, directions and sentences, and the verdicts by selection and column.

    pairs: compare_{task}.csv. params: those of table.py. A column has no verdicts if its reference has no value. A
    score of 0 that no run falls below is never the best, nor is a run whose search was not equal to all others'.
    """
    chosen, searched, tests = params["verdicts"], searches.table_searches(params), both_ways(pairs)
    keys, one_seed = list(zip(table["selection"], table["run"], strict=True)), table["n_seeds"] == "1"
    single = {key for key, alone in zip(keys, one_seed, strict=True) if alone}
    labels, compared = {row["run"]: row["label"] for row in params["rows"]}, {*params["trained"], *chosen["baselines"]}
    found: dict[tuple[str, str], list[Verdict]] = {}
    marks: dict[str, str | list[str]] = {}
    sentences: dict[str, list[str]] = {}
    for name, unit in units.items():
        best, texts = set(), {}
        for selection, part in table[table[name] != ""].groupby("selection", sort=False):
            means = dict(zip(part["run"], map(float, part[name]), strict=True))
            first = reference(means, chosen, unit)
            found[selection, name] = [
                Verdict(
                    run,
                    first,
                    (mean, means[first]),
                    *tests.get((name, selection, (run, first)), (mean - means[first],)),
                    single={(selection, run), (selection, first)} <= single,
                    unequal=searched.between(run, first, name),
                )
                for run, mean in means.items()
                if first and run != first and run in compared
            ]
            texts |= {(selection, one.run): one.sentence(labels, unit) for one in found[selection, name]}
            means = {run: mean for run, mean in means.items() if run in params["trained"]}
            equal = {
                frozenset(pair): result[2]
                for (*place, pair), result in tests.items()
                if place == [name, selection] and not math.isnan(result[2]) and not searched.between(*pair, name)
            }
            worst = (max if unit.lower else min)(means.values(), default=0)
            listed = comparison.best(means, equal, unit.lower)
            best |= {(selection, run) for run in listed if means[run] != 0 or worst != 0}
        marks |= {f"{name}_better": unit.better, f"{name}_best": ["true" if key in best else "" for key in keys]}
        sentences[name] = [texts.get(key, "") for key in keys]
    shown = {f"{name}_verdict": sentences.get(name, "") for name in chosen["columns"]}
    return table.assign(**marks, **shown), found


def both_ways(pairs: pd.DataFrame) -> dict[tuple[str, str, tuple[str, str]], tuple]:
    """Return value, interval, p, seeds, items and p of equivalence by column, selection and (run, reference)."""
    found = {}
    for pair in pairs.to_dict("records"):
        value, low, high, p, p_equivalent = (
            float(pair[name] or "nan") for name in ("difference", "low", "high", "p_holm", "p_equivalent")
        )
        key, tests = (pair["column"], pair["selection"]), (p, int(pair["n_seeds"]), int(pair["n_items"]), p_equivalent)
        found[*key, (pair["run_a"], pair["run_b"])] = (value, (low, high), *tests)
        found[*key, (pair["run_b"], pair["run_a"])] = (-value, (-high, -low), *tests)
    return found


def summary(table: pd.DataFrame, selection: str, params: dict) -> str:
    """Write the sentences of a selection as Markdown; "" if there are none."""
    part, lines = table[table["selection"] == selection], []
    for name in params["verdicts"]["columns"]:
        if texts := [text for text in part[f"{name}_verdict"] if text]:
            listed = "\n".join(f"- {markdown_text.plain(text)}." for text in texts)
            lines.append(f"{markdown_text.plain(name)}:\n\n{listed}")
    return "\n\n".join(lines)


def cells(found: dict[tuple[str, str], list[Verdict]], selection: str, units: dict[str, Unit], params: dict) -> str:
    """Write the differences of a selection as a Markdown table with one row per run; "" if there are none."""
    texts: dict[tuple[str, str], str] = {}
    for name, unit in units.items():
        several = found.get((selection, name), [])
        texts |= {(one.reference, name): "reference" for one in several}
        texts |= {(one.run, name): one.cell(unit) for one in several}
    runs, names = ({key[place] for key in texts} for place in (0, 1))
    shown = [name for name in units if name in names]
    lines = [["Method", *(f"{name} {units[name].arrow}" for name in shown)]]
    for row in params["rows"]:
        if row["run"] in runs:
            lines.append([row["label"], *(texts.get((row["run"], name), "") for name in shown)])
    return markdown_text.table(lines, ["left"] + ["right"] * len(shown)) + "\n" if texts else ""
