"""The check that equal searches chose the hyper-parameters of two compared runs.

Only such runs are ranked (better, significant, best). Any other difference holds for the settings of these runs:
another learning rate may reverse it (docs/statistics.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from hra_workflow.core.wording import plural
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
        """State the learning rates or numbers of trials of these runs, and name what else differs on a dataset.

        labels: by `method/variant`.
        """
        texts = []
        for run, label in labels.items():
            own = [runs[run] for runs in self.found.values() if run in runs]
            rates = sorted({one["settings"][RATE] for one in own if one["settings"].get(RATE) is not None})
            trials = max((one["trials"] for one in own), default=0)
            text = " to ".join(f"{rate:g}" for rate in dict.fromkeys([*rates[:1], *rates[-1:]]))
            text = f"{text or 'tuned'} ({plural(trials, 'trial')})" if trials else text
            texts += [f"{label} {text}"] * bool(text)
        every = [[runs[run] for run in labels if run in runs] for runs in self.found.values()]
        pairs = [pair for runs in every for pair in combinations(runs, 2)]
        others = sorted(set().union(*(differing(*pair) for pair in pairs)) - {RATE})
        parts = {"Learning rates": "; ".join(texts), "Also different": ", ".join(others)}
        return ". ".join(f"{name}: {listed}" for name, listed in parts.items() if listed)


def table_searches(params: dict) -> Searches:
    """Return the searches of the runs of a table. params: its `columns`, `averages` and `searches`."""
    datasets = {name: [part["dataset"] for part in found] for name, found in column_units.parts(params).items()}
    return Searches(params["searches"], datasets)


def differing(one: dict, other: dict) -> set[str]:
    """Return the hyper-parameters that no trial chose and that two runs have different values of."""
    first, second = one["settings"], other["settings"]
    return {key for key in {**first, **second} if first.get(key) != second.get(key)}
