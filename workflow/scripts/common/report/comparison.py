"""Differences between runs with confidence intervals: a bootstrap over seeds and items, paired over both.

Two runs are compared on the same items and on the seeds that both have. Each replicate draws seeds with replacement and
items with replacement, the same for both runs (scipy's bootstrap draws at one level only). With few seeds such
intervals are a little too narrow: of k seeds, they contain (k - 1)/k of the variance between seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

REPLICATES = 1000
LEVEL = 0.05  # of a difference that counts as one
Scored = dict[str, dict[int, np.ndarray]]  # run → seed → (n items, k values)


@dataclass(frozen=True)
class Estimates:
    """A metric of every run and seed on all items, and on the items of each replicate."""

    items: int
    value: dict[str, dict[int, float]]
    replicates: dict[str, dict[int, np.ndarray]]  # (REPLICATES,)


@dataclass(frozen=True)
class Difference:
    """`value` of the first run minus the second, with a 95 % interval and p of a two-sided normal test."""

    value: float
    replicates: np.ndarray
    items: int
    seeds: int

    @property
    def interval(self) -> tuple[float, float]:
        low, high = np.quantile(self.replicates, [LEVEL / 2, 1 - LEVEL / 2])
        return float(low), float(high)

    @property
    def p(self) -> float:
        from scipy.stats import norm

        error = self.replicates.std(ddof=1)
        return float(2 * norm.sf(abs(self.value) / error)) if error > 0 else float(self.value == 0)


def mean(values: np.ndarray) -> float:
    """Average the known values (n,)."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def estimate(scored: Scored, metric: Callable[..., float]) -> Estimates:
    """Compute a metric, a function of the k columns of a run's items, on all items and on every replicate's."""
    arrays = [(run, seed, array) for run, seeds in scored.items() for seed, array in seeds.items()]
    counts = {len(array) for *_, array in arrays}
    if len(counts) != 1:
        raise ValueError(f"expected the same number of items from every run, found {sorted(counts)}")
    (n,) = counts
    rng = np.random.default_rng(0)  # the same items for every run
    value: dict = {run: {} for run in scored}
    replicates: dict = {run: {seed: np.empty(REPLICATES) for seed in seeds} for run, seeds in scored.items()}
    for run, seed, array in arrays:
        value[run][seed] = metric(*array.T)
    for draw in range(REPLICATES):
        chosen = rng.integers(n, size=n)
        for run, seed, array in arrays:
            replicates[run][seed][draw] = metric(*array[chosen].T)
    return Estimates(n, value, replicates)


def differences(estimates: Estimates) -> dict[tuple[str, str], Difference]:
    """Compare all pairs of runs that have a seed in common."""
    found = {}
    for first, second in combinations(estimates.value, 2):
        seeds = sorted(set(estimates.value[first]) & set(estimates.value[second]))
        if seeds:
            drawn = np.random.default_rng(1).integers(len(seeds), size=(REPLICATES, len(seeds)))
            pairs = [estimates.replicates[first][seed] - estimates.replicates[second][seed] for seed in seeds]
            replicates = np.take_along_axis(np.stack(pairs, axis=1), drawn, axis=1).mean(axis=1)
            value = np.mean([estimates.value[first][seed] - estimates.value[second][seed] for seed in seeds])
            found[first, second] = Difference(float(value), replicates, estimates.items, len(seeds))
    return found


def average(parts: list[dict[tuple[str, str], Difference]]) -> dict[tuple[str, str], Difference]:
    """Average the differences of several columns, whose replicates are independent, for pairs that all of them have."""
    found = {}
    for pair in parts[0]:
        if all(pair in part for part in parts):
            several = [part[pair] for part in parts]
            # Columns draw with the same seeds of the generator: reordering makes them independent.
            orders = [np.random.default_rng(2 + place).permutation(REPLICATES) for place in range(len(several))]
            replicates = np.mean([one.replicates[order] for one, order in zip(several, orders, strict=True)], axis=0)
            value = float(np.mean([one.value for one in several]))
            items, seeds = sum(one.items for one in several), min(one.seeds for one in several)
            found[pair] = Difference(value, replicates, items, seeds)
    return found


def holm(values: list[float]) -> list[float]:
    """Adjust p values for the number of tests (Holm, 1979): the chance of any false difference stays below LEVEL."""
    adjusted, highest = [0.0] * len(values), 0.0
    for place, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = highest
    return adjusted


def best(means: dict[str, float], p: dict[frozenset, float], lower: bool) -> set[str]:
    """Return the best run and those that are not distinguishable from it; none if there is nothing to compare."""
    if len(means) < 2 or not p:
        return set()
    first = (min if lower else max)(means, key=means.__getitem__)
    return {run for run in means if run == first or p.get(frozenset((first, run)), 0) >= LEVEL}
