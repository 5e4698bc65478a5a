"""The numbers of two states of the same runs, paired over items and seeds, and the items whose answers differ most.

A state is the runs of a folder. Numbers are those of metrics.json, so a rate is a fraction; a difference is the second
state minus the first (docs/statistics.md).
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from hra_results import prediction_lines
from hra_results.states import record_differences
from hra_results.states.saved_runs import Run
from hra_workflow.core.errors import expect
from hra_workflow.core.wording import listed
from hra_workflow.report import comparison
from hra_workflow.tasks.base import Task

# Numbers that differ less are equal: runs_*.csv has six significant digits, predictions have six decimals.
RELATIVE, ABSOLUTE = 5e-6, 5e-7
ITEMS = 10  # maximum number of items shown per run and benchmark


@dataclass(frozen=True)
class Number:
    """A metric of both states: means over the seeds that both have; None in a state without a value.

    difference: paired, None if the items are not; `reason`: why. equal: in every seed, within rounding.
    """

    run: str
    benchmark: str
    selection: str
    metric: str
    values: tuple[float | None, float | None]
    seeds: int
    equal: bool
    difference: comparison.Difference | None = None
    reason: str = ""
    p: float = math.nan


@dataclass(frozen=True)
class Item:
    """An item whose answers differ. lines: of both predictions; change: how much they differ (Task.change)."""

    runs: tuple[Run, Run]
    benchmark: str
    lines: tuple[dict, dict]
    change: float


@dataclass
class Difference:
    """The difference of two states. only: the runs in A only and in B only. failed: runs that have diverged."""

    common: int
    only: dict[str, list[str]]
    sections: dict[str, dict[str, list[str]]]
    failed: list[str]
    numbers: list[Number]
    items: list[Item]

    @property
    def equal(self) -> bool:
        return not (any(self.only.values()) or self.failed) and all(one.equal for one in self.numbers)


def label(pairs: list[tuple[Run, Run]]) -> str:
    """Name the pairs of a run in several seeds, without the seeds if they are the same."""
    first, second = (one.name for one in pairs[0])
    text = first if first == second else f"{first}, now {second}"
    before, now = ([str(one.seed) for one in side] for side in zip(*pairs, strict=True))
    word = "seed" if len(pairs) == 1 else "seeds"
    return text + (f" ({word} {listed(before)}, now {listed(now)})" if before != now else "")


def matched(first: dict[str, Run], second: dict[str, Run]) -> dict[str, Run]:
    """Return B's runs by path, or, if A has other seeds of the variant only, by A's paths in the order of the seeds."""
    variants, paths = by_variant(first), {}
    for variant, seeds in by_variant(second).items():
        others = variants.get(variant, [])
        if not {*seeds} & {*others}:
            paths |= dict(zip(seeds, others, strict=False))
    return {paths.get(path, path): run for path, run in second.items()}


def by_variant(state: dict[str, Run]) -> dict[PurePosixPath, list[str]]:
    """Return the paths of a state by their parent, in the order of the seeds, without that of the folder itself."""
    found: dict[PurePosixPath, list[str]] = {}
    for path in sorted(state, key=lambda path: state[path].seed):
        if path != ".":
            found.setdefault(PurePosixPath(path).parent, []).append(path)
    return found


def compare_states(first: dict[str, Run], second: dict[str, Run]) -> Difference:
    """Compare the runs that both states have; see `matched`."""
    second = matched(first, second)
    common = [path for path in first if path in second]
    shown = [listed("the folder itself" if path == "." else path for path in one) for one in (first, second)]
    expect(
        bool(common),
        f"expected a run that both have, found {shown[0]} in A and {shown[1]} in B. Pass two folders of the "
        "same level, such as two folders of results, two method variants or two runs.",
    )
    groups: dict[tuple[str, ...], list[tuple[Run, Run]]] = {}
    found, failed = {}, []
    for path in common:
        pair = first[path], second[path]
        kinds = [run.record["task"] for run in pair]
        expect(kinds[0] == kinds[1], f"expected two runs of one task, found {' and '.join(kinds)}. Choose another one.")
        both = [name for name in pair[0].metrics if name in pair[1].metrics]
        evaluations = {name: (pair[0].metrics[name], pair[1].metrics[name]) for name in both}
        name = path if path != "." else label([pair])
        found[name] = record_differences.between(pair[0].record, pair[1].record, evaluations)
        if pair[0].diverged != pair[1].diverged:
            side = 0 if pair[0].diverged else 1
            failed.append(f"{name} has diverged in {'AB'[side]}: {pair[side].record['error']}")
        groups.setdefault(tuple(run.name for run in pair), []).append(pair)
    results = [compare(pairs) for pairs in groups.values()]
    numbers = with_holm([one for some, _ in results for one in some])
    only = {
        name: [path for path in one if path not in other]
        for name, one, other in (("A", first, second), ("B", second, first))
    }
    items = [one for _, some in results for one in some]
    return Difference(len(common), only, record_differences.grouped(found), failed, numbers, items)


def compare(pairs: list[tuple[Run, Run]]) -> tuple[list[Number], list[Item]]:
    """Compare the same run of two states in several seeds: its numbers, and up to ITEMS items per benchmark."""
    numbers, items = [], []
    for benchmark in dict.fromkeys(name for pair in pairs for run in pair for name in run.metrics):
        loaded = [(pair, tuple(run.lines(benchmark) for run in pair)) for pair in pairs if in_both(pair, benchmark)]
        reason = unpaired(loaded, benchmark)
        for key in dict.fromkeys(key for pair in pairs for run in pair for key in run.values(benchmark)):
            numbers.append(number(pairs, benchmark, *key, [] if reason else loaded, reason))
        items += changed(loaded, benchmark)
    return numbers, items


def in_both(pair: tuple[Run, Run], benchmark: str) -> bool:
    return all(benchmark in run.metrics for run in pair)


def unpaired(loaded: list[tuple], benchmark: str) -> str:
    """Return why the items of two states cannot be paired; "" if they can."""
    expected = None
    for pair, lines in loaded:
        if None in lines:
            return "no predictions per item"
        first, second = (run.metrics[benchmark]["task_version"] for run in pair)
        if first != second:
            return f"other versions of the task ({first}, now {second})"
        for some in lines:
            found = list(dict.fromkeys(item_of(pair[0].task, line) for line in some))
            expected = expected or found
            if found != expected:
                return f"other items ({len(expected)}, now {len(found)})"
    return ""


def number(
    pairs: list[tuple[Run, Run]], benchmark: str, selection: str, metric: str, loaded: list[tuple], reason: str
) -> Number:
    """Compare one metric. loaded: the pairs with both predictions; [] if the items are not paired."""
    key = selection, metric
    every = [tuple(run.values(benchmark).get(key) for run in pair) for pair in pairs]
    both = [values for values in every if None not in values]
    equal = all(first == second or (None not in (first, second) and is_equal(first, second)) for first, second in every)
    about = label(pairs), benchmark, selection, metric
    if not both:
        sides = tuple(mean(value for value in side if value is not None) for side in zip(*every, strict=True))
        reason = "in no common seed" if None not in sides else "only in B" if sides[0] is None else "only in A"
        return Number(*about, sides, 0, False, reason=reason)
    means = tuple(mean(side) for side in zip(*both, strict=True))
    scored: comparison.Scored = {"now": {}, "before": {}}
    for pair, lines in loaded:
        if all(key in run.values(benchmark) for run in pair):
            arrays = [run.scores(benchmark, some, *key) for run, some in zip(pair, lines, strict=True)]
            if any(array is None for array in arrays):
                return Number(*about, means, len(both), equal, reason="computed from all items together")
            scored["before"][pair[0].seed], scored["now"][pair[0].seed] = arrays
    if not scored["now"]:
        return Number(*about, means, len(both), equal, reason=reason)
    estimates = comparison.estimate(scored, pairs[0][0].task.metric(metric).function)
    (difference,) = comparison.differences(estimates).values()
    return Number(*about, means, len(both), equal, difference, p=difference.p)


def mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return sum(values) / len(values) if values else None


def is_equal(first: float, second: float) -> bool:
    """Return whether two values are equal within rounding."""
    return math.isclose(first, second, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def with_holm(numbers: list[Number]) -> list[Number]:
    """Return the numbers with Holm's correction of p for all runs of a benchmark, selection and metric."""
    columns: dict[tuple, list[int]] = {}
    for place, one in enumerate(numbers):
        dataset = one.run.split("/")[:2]
        columns.setdefault((*dataset, one.benchmark, one.selection, one.metric), []).append(place)
    adjusted = list(numbers)
    for places in columns.values():
        for place, p in zip(places, comparison.holm([numbers[place].p for place in places]), strict=True):
            adjusted[place] = replace(numbers[place], p=p)
    return adjusted


def changed(loaded: list[tuple], benchmark: str) -> list[Item]:
    """Return the items whose answers differ most, of all seeds, in descending order."""
    every = (item for pair, lines in loaded if None not in lines for item in differing(pair, lines, benchmark))
    return heapq.nlargest(ITEMS, every, key=lambda item: item.change)


def item_of(task: type[Task], line: dict) -> tuple:
    """Return what identifies an item in a line of predictions, None for a missing entry."""
    return tuple(line.get(name) for name in task.identity)


def differing(pair: tuple[Run, Run], lines: tuple[list[dict], list[dict]], benchmark: str) -> Iterator[Item]:
    """Yield the items whose answers differ between two runs."""
    task, score = pair[0].task, pair[0].metrics[benchmark].get("score", "")
    before, now = ({item_of(task, line): line for line in some} for some in lines)  # of several steps, the last one
    for item in (item for item in before if item in now):
        with pair[1].reading(benchmark):
            change = prediction_lines.change(before[item], now[item], score)
        if change > 0:
            yield Item(pair, benchmark, (before[item], now[item]), change)
