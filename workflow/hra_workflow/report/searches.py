"""The check that equal searches chose the hyper-parameters of two compared runs, and its description.

Only runs with equal searches get a verdict (better, significant, best). Any other difference holds for the settings of
these runs: another learning rate may reverse it (docs/statistics.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from hra_workflow.core.wording import plural

FIRST = "learning_rate"  # is named first
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
        """Return why a difference in a column is no verdict; "" if equal searches chose both runs' hyper-parameters.

        A run that trains nothing has no hyper-parameters, so it needs no search.
        """
        own = [self.found.get(dataset, {}) for dataset in self.datasets[column]]
        pairs = [(runs[run], runs[reference]) for runs in own if run in runs and reference in runs]
        for one, other in pairs:
            if one["trials"] != other["trials"]:
                return f"a difference after unequal searches ({trials(one)} against {trials(other)})"
        values: dict[str, list[tuple]] = {}
        for one, other in pairs:
            for key in {**one["settings"], **other["settings"]}:
                values.setdefault(key, []).append((one["settings"].get(key), other["settings"].get(key)))
        unlike = {key: found for key, found in values.items() if any(a != b for a, b in found)}
        if not pairs or (not unlike and pairs[0][0]["trials"]):
            return ""
        presets = list(dict.fromkeys(side["preset"] for pair in pairs for side in pair))
        text = f"a difference at the settings of preset{'s' * (len(presets) > 1)} {' and '.join(presets)}"
        if unlike:
            return f"{text}, which no equal search chose: {described(unlike)}"
        same = {key: found for key, found in values.items() if key == FIRST}
        return f"{text}, the same for both, which no search chose{': ' * bool(same)}{described(same)}"

    def unequal(self, runs: Iterable[str], columns: Iterable[str]) -> list[str]:
        """List the columns in which not all of these runs had equal searches."""
        pairs = list(combinations(runs, 2))
        return [name for name in columns if any(self.between(*pair, name) for pair in pairs)]


def table_searches(params: dict) -> Searches:
    """Return the searches of the runs of a table. params: its `columns`, `averages` and `searches`."""
    from hra_workflow.report import run_statistics

    single, averages = run_statistics.expand_columns(params["columns"], params["averages"])
    datasets = {column["name"]: [column["dataset"]] for column in single}
    wide = {name: [dataset for member in members for dataset in datasets[member]] for name, members in averages.items()}
    return Searches(params["searches"], datasets | wide)


def trials(found: dict) -> str:
    return plural(found["trials"], "trial") if found["trials"] else "no search"


def described(values: dict[str, list[tuple]]) -> str:
    """Name hyper-parameters, with the value of the first one if it is the same on all datasets."""
    names = sorted(values, key=lambda name: name != FIRST)
    if not names:
        return ""
    first, *others = names
    text, (one, other) = first.replace("_", " "), values[first][0]
    if all(pair == (one, other) for pair in values[first]):
        text += f" {format_value(one)}" if one == other else f" {format_value(one)} against {format_value(other)}"
    return f"{text} (also different: {', '.join(others)})" if others else text


def format_value(value) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
