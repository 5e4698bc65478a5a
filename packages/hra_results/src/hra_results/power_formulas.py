"""The power of the tables' test of a difference, from the variances of its noise (README.md has the formulas).

Differences and noise are in the units of the scores: fractions, not points.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from hra_workflow.report.comparison import LEVEL, SEEDS, Noise

GOAL = 0.8  # the power with which the smallest difference and the number of seeds are computed
MOST_SEEDS = 1000
DRAWS = 500
SHARED = 0.5  # fraction of an answer's latent variance that belongs to its item


@dataclass(frozen=True)
class Column:
    """A column of a table: its number of items, and its noise by the true difference of two runs."""

    items: int
    noise: Callable[[float], Noise]


def stated(score: float, deviation: float, items: int) -> Column:
    """Return a column whose items are answered right or wrong.

    score: the fraction of right answers. deviation: the standard deviation of a run's score between seeds, as tables
    show it: with the noise of its items. An answer is right if a latent normal variable is below a threshold; all runs
    and seeds share SHARED of its variance. The worse run is also wrong on a fraction of the items, in every seed.
    """
    from scipy.stats import multivariate_normal, norm

    threshold = norm.ppf(score)
    both = float(multivariate_normal.cdf([threshold, threshold], cov=[[1, SHARED], [SHARED, 1]]))
    rest = score - both  # variance of an answer, given its item
    seeds = max(deviation**2 - rest / items, 0.0)

    def noise(difference: float) -> Noise:
        lost = min(abs(difference) / score, 1.0)
        return Noise(lost * both - (lost * score) ** 2, (1 + (1 - lost) ** 2) * seeds, (2 - lost) * rest)

    return Column(items, noise)


def power(difference: float, columns: list[Column], seeds: int) -> float:
    """Return the probability that a true difference in the mean of the columns has p < LEVEL with this many seeds.

    D is normal, and its variance is estimated, as by `comparison.difference`, by the sum of independent multiples of
    χ² over items and over seeds, which both include the rest. The mean over DRAWS of them is the probability.
    """
    from scipy.stats import norm, t

    if seeds < SEEDS:
        return 0.0
    true, parts = 0.0, []
    for column in columns:
        noise, n = column.noise(difference), column.items
        true += (noise.items / n + noise.seeds / seeds + noise.rest / (seeds * n)) / len(columns) ** 2
        parts += [((noise.items + noise.rest / seeds) / n / len(columns) ** 2, n - 1)]
        parts += [((noise.seeds + noise.rest / n) / seeds / len(columns) ** 2, seeds - 1)]
    if not true:
        return float(difference != 0)
    drawn = [(size * chi_squared(freedom, place), freedom) for place, (size, freedom) in enumerate(parts)]
    variance = sum(one for one, _ in drawn)
    freedom = variance**2 / sum(one**2 / freedom for one, freedom in drawn)
    limit, shift = t.isf(LEVEL / 2, freedom) * np.sqrt(variance / true), abs(difference) / math.sqrt(true)
    return float(np.mean(norm.sf(limit - shift) + norm.cdf(-limit - shift)))


@cache
def chi_squared(freedom: int, place: int) -> np.ndarray:
    """Return DRAWS quantiles of χ² over its mean, in another order for every place."""
    from scipy.stats import chi2

    quantiles = chi2.ppf((np.arange(DRAWS) + 0.5) / DRAWS, freedom) / freedom
    return np.random.default_rng(place).permutation(quantiles)


def smallest_difference(columns: list[Column], seeds: int) -> float | None:
    """Return the smallest difference with power GOAL; None with too few seeds, or if none has."""
    from scipy.optimize import brentq

    if seeds < SEEDS:
        return None
    found, high = partial(power, columns=columns, seeds=seeds), 1e-4
    while found(high) < GOAL:
        high *= 2
        if high > 1e6:
            return None
    return float(brentq(lambda difference: found(difference) - GOAL, high / 2, high, xtol=high / 1000))


def seeds_needed(difference: float, columns: list[Column]) -> int | None:
    """Return the smallest number of seeds with which a difference has power GOAL; None if MOST_SEEDS are too few."""
    low, high = SEEDS - 1, SEEDS
    while power(difference, columns, high) < GOAL:
        low, high = high, 2 * high
        if low >= MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, columns, middle) >= GOAL else (middle, high)
    return high if high <= MOST_SEEDS else None
