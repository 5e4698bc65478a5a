"""The check that equal searches chose the hyper-parameters of two compared runs.

Only such runs are ranked (better, significant, best). Any other difference holds for the settings of these runs:
another learning rate may reverse it (docs/statistics.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from hra_workflow.report import column_units

RATE = "learning_rate"
UNTUNED, UNEQUAL, OTHER = REASONS = "rates not tuned", "unequal searches", "unequal settings"
NOT_RANKED = (
    "Differences at the settings of the config: no equal search chose the\n"
    "hyper-parameters of these runs, so their order is no ranking of methods"
)


@dataclass(frozen=True)
class Searches:
    """The searches of runs. found: from tasks.tuned_runs.searches. datasets: those of every column and average."""

    found: dict[str, dict[str, dict]]
    datasets: dict[str, list[str]]

    def between(self, run: str, reference: str, column: str) -> str:
        """Return why a difference in a column is no ranking; "" if equal searches chose both runs' hyper-parameters.

        A run that trains nothing has no hyper-parameters, so it needs no search.
        """
        own = [self.found.get(dataset, {}) for dataset in self.datasets[column]]
        pairs = [(runs[run], runs[reference]) for runs in own if run in runs and reference in runs]
        if any(one["trials"] != other["trials"] for one, other in pairs):
            return UNEQUAL
        if not all(one["trials"] for one, _ in pairs):
            return UNTUNED
        return OTHER * any(differing(one, other) for one, other in pairs)

    def unequal(self, runs: Iterable[str], columns: Iterable[str]) -> list[str]:
        """List the columns in which not all of these runs had equal searches."""
        pairs = list(combinations(runs, 2))
        return [name for name in columns if any(self.between(*pair, name) for pair in pairs)]

    def describe(self, labels: dict[str, str]) -> str:
        """Describe presets, learning rates and trials of these runs, and name what else differs on a dataset.

        labels: by `method/variant`.
        """
        own = {label: [runs[run] for runs in self.found.values() if run in runs] for run, label in labels.items()}
        texts = {"Learning rates": {label: rates(found) for label, found in own.items()}}
        if any(one["trials"] for found in own.values() for one in found):
            texts["Trials"] = {label: ranged(one["trials"] for one in found) for label, found in own.items()}
        pairs = [pair for runs in self.found.values() for pair in combinations(map(runs.get, labels), 2) if all(pair)]
        others = sorted(set().union(*(differing(*pair) for pair in pairs)) - {RATE})
        parts = [f"{name}: {listed}" for name, found in texts.items() if (listed := joined(found))]
        return ". ".join(parts + [f"Also different: {', '.join(others)}"] * bool(others))


def table_searches(params: dict) -> Searches:
    """Return the searches of the runs of a table. params: its `columns`, `averages` and `searches`."""
    datasets = {name: [part["dataset"] for part in found] for name, found in column_units.parts(params).items()}
    return Searches(params["searches"], datasets)


def differing(one: dict, other: dict) -> set[str]:
    """Return the hyper-parameters that no trial chose and that two runs have different values of."""
    first, second = one["settings"], other["settings"]
    return {key for key in {**first, **second} if first.get(key) != second.get(key)}


def rates(found: list[dict]) -> str:
    return ranged(one["settings"][RATE] for one in found if one["settings"].get(RATE) is not None)


def ranged(values: Iterable[float]) -> str:
    """Write `0.001`, or `0.001 to 0.01` of several values."""
    return " to ".join(dict.fromkeys(f"{end(found):g}" for found in [list(values)] if found for end in (min, max)))


def joined(texts: dict[str, str]) -> str:
    return "; ".join(f"{label} {text}" for label, text in texts.items() if text)
