"""Differences between runs with confidence intervals: a bootstrap over seeds and items, paired over both.

Two runs are compared on the same items and on the seeds that both have. Each replicate draws seeds with replacement and
items with replacement, the same for both runs (scipy's bootstrap draws at one level only). With few seeds such
intervals are a little too narrow: of k seeds, they contain (k - 1)/k of the variance between seeds. With fewer than
`SEEDS` of them, there is no p, and no run of the column is called the best.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

REPLICATES = 1000
SEEDS = 3  # that two runs must share: fewer do not show how much seeds differ
LEVEL = 0.05  # of a difference that counts as one
Scored = dict[str, dict[int, np.ndarray]]  # run → seed → (n items, k values)


@dataclass(frozen=True)
class Estimates:
    """A metric of every run and seed on all items, and on the items of each replicate."""

    scored: Scored
    items: int
    value: dict[str, dict[int, float]]
    replicates: dict[str, dict[int, np.ndarray]]  # (REPLICATES,)


@dataclass(frozen=True)
class Difference:
    """`value` of the first run minus the second, with a 95 % interval and p. differing: items that distinguish them."""

    value: float
    replicates: np.ndarray
    items: int
    seeds: int
    differing: int

    @property
    def interval(self) -> tuple[float, float]:
        known = self.replicates[np.isfinite(self.replicates)]
        low, high = np.quantile(known, [LEVEL / 2, 1 - LEVEL / 2]) if len(known) else (math.nan, math.nan)
        return float(low), float(high)

    @property
    def p(self) -> float:
        """Return p of a two-sided normal test; NaN without a value or with too few seeds.

        It is no smaller than the exact paired permutation test allows: exchanging the runs' results on m items that
        differ has 2^m outcomes, of which the observed one and its opposite are the most extreme.
        """
        from scipy.stats import norm

        known = self.replicates[np.isfinite(self.replicates)]
        if self.seeds < SEEDS or not math.isfinite(self.value) or len(known) < 2:
            return math.nan
        error = known.std(ddof=1)
        p = 2 * norm.sf(abs(self.value) / error) if error > 0 else float(self.value == 0)
        return max(float(p), 2.0 ** -min(max(self.differing - 1, 0), 1022))  # 2^-1022: the smallest normal number


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
    return Estimates(scored, n, value, replicates)


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
            of_first, of_second = (np.stack([estimates.scored[run][seed] for seed in seeds]) for run in (first, second))
            same = (of_first == of_second) | (np.isnan(of_first) & np.isnan(of_second))  # (seeds, items, values)
            differing = int((~same).any(axis=(0, 2)).sum())
            found[first, second] = Difference(float(value), replicates, estimates.items, len(seeds), differing)
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
            items, differing = (sum(getattr(one, name) for one in several) for name in ("items", "differing"))
            found[pair] = Difference(value, replicates, items, min(one.seeds for one in several), differing)
    return found


def holm(values: list[float]) -> list[float]:
    """Adjust p values for the number of tests (Holm, 1979): the chance of any false difference stays below LEVEL.

    NaN is no test and stays NaN.
    """
    adjusted, highest = list(values), 0.0
    tested = sorted((index for index, value in enumerate(values) if not math.isnan(value)), key=values.__getitem__)
    for place, index in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - place) * values[index]))
        adjusted[index] = highest
    return adjusted


def tests(pairs: pd.DataFrame) -> dict[frozenset, float]:
    """Return the adjusted p of each tested pair of runs. pairs: rows of compare_{task}.csv, of one column."""
    found = zip(pairs["run_a"], pairs["run_b"], pd.to_numeric(pairs["p_holm"]), strict=True)
    return {frozenset((first, second)): p for first, second, p in found if not math.isnan(p)}


def best(means: dict[str, float], p: dict[frozenset, float], lower: bool) -> set[str]:
    """Return the best run and those not distinguishable from it; none unless all others were tested against it."""
    if len(means) < 2:
        return set()
    first = (min if lower else max)(means, key=means.__getitem__)
    against = {run: p.get(frozenset((first, run))) for run in means if run != first}
    if None in against.values():
        return set()
    return {first} | {run for run, value in against.items() if value >= LEVEL}
