"""Differences between runs with confidence intervals: t intervals over seeds and items, paired over both.

scipy has none of this but the t distribution; statsmodels, no dependency, has Holm's correction and equivalence tests.

Two runs are compared on the same items and on their common seeds. The variance of their difference is the variance over
items (of the difference averaged over seeds) plus the variance over seeds (of the difference on all items); its degrees
of freedom are Satterthwaite's (1946). docs/statistics.md has the formula and the measured coverage. With fewer than
`SEEDS` seeds there is no p, and no run of the column is called the best; with one, the interval is over items only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

REPLICATES = 1000
SEEDS = 3  # minimum of common seeds of two runs: fewer do not show how much seeds differ
LEVEL = 0.05  # significance level
NOISE = ("noise_items", "noise_seeds", "noise_rest")  # columns of compare_{task}.csv, in squared units of the table
MARGIN = 1.0  # points: runs are on the same level if their difference is significantly smaller
Scored = dict[str, dict[int, np.ndarray]]  # run → seed → (n items, k values)


@dataclass(frozen=True)
class Estimates:
    """A metric of every run and seed on all items, and on each replicate's items; None for a mean over items."""

    scored: Scored
    items: int
    value: dict[str, dict[int, float]]
    replicates: dict[str, dict[int, np.ndarray]] | None  # (REPLICATES,)


@dataclass(frozen=True)
class Noise:
    """Variances of the difference of two runs on one item with one seed: of its item, of its seed, and the rest."""

    items: float
    seeds: float
    rest: float


@dataclass(frozen=True)
class Difference:
    """The `value` of the first run minus that of the second. differing: the items on which they differ.

    variances: the value's variances over items and over seeds, which are added, each with its degrees of freedom.
    noise: None with one seed and for an average of columns.
    """

    value: float
    variances: list[tuple[float, int]]
    items: int
    seeds: int
    differing: int
    noise: Noise | None = None

    @property
    def error(self) -> float:
        """Return the standard error of the value."""
        return math.sqrt(sum(variance for variance, _ in self.variances))

    @property
    def freedom(self) -> float:
        """Return the degrees of freedom of the error (Satterthwaite, 1946)."""
        parts = sum(variance**2 / freedom for variance, freedom in self.variances)
        return self.error**4 / parts if parts else math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval; NaN without a value or a variance."""
        from scipy.stats import t

        half = float(t.isf(LEVEL / 2, self.freedom)) * self.error
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Return p of a two-sided t test; NaN without a value or with too few seeds.

        It is not smaller than the minimum of the exact paired permutation test: an exchange of the runs' results on m
        differing items has 2^m outcomes, of which the observed one and its opposite are the most extreme.
        """
        p = 2 * self.tail(abs(self.value)) if self.error else float(self.value == 0)
        return max(p, 2.0 ** -min(max(self.differing - 1, 0), 1022)) if self.tested else math.nan  # a normal float

    def p_equivalent(self, margin: float) -> float:
        """Return p of two one-sided t tests (Schuirmann, 1987) that the runs differ by less than `margin`; NaN as p."""
        if not self.tested:
            return math.nan
        inside = margin - abs(self.value)
        return self.tail(inside) if self.error else float(inside <= 0)

    @property
    def tested(self) -> bool:
        return self.seeds >= SEEDS and math.isfinite(self.value) and math.isfinite(self.error)

    def tail(self, distance: float) -> float:
        """Return the probability of a difference above `distance` if the true one is 0."""
        from scipy.stats import t

        return float(t.sf(distance / self.error, self.freedom))


def mean(values: np.ndarray) -> float:
    """Average the known values (n,)."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def error_of_mean(values: np.ndarray) -> float:
    """Return the standard error of `mean`, for correct and incorrect answers √(p(1−p)/(n−1)); NaN of one value."""
    return math.sqrt(variance(values) / np.isfinite(values).sum())


def estimate(scored: Scored, metric: Callable[..., float]) -> Estimates:
    """Compute a metric, a function of the k columns of a run's items, on all items and on every replicate's items."""
    arrays = [(run, seed, array) for run, seeds in scored.items() for seed, array in seeds.items()]
    counts = {len(array) for *_, array in arrays}
    if len(counts) != 1:
        raise ValueError(f"expected the same number of items from every run, found {sorted(counts)}")
    (n,) = counts
    value = {run: {seed: metric(*array.T) for seed, array in seeds.items()} for run, seeds in scored.items()}
    if metric is mean and not any(np.isnan(array).any() for *_, array in arrays):
        return Estimates(scored, n, value, None)
    rng = np.random.default_rng(0)  # the same items for every run
    replicates: dict = {run: {seed: np.empty(REPLICATES) for seed in seeds} for run, seeds in scored.items()}
    for draw in range(REPLICATES):
        chosen = rng.integers(n, size=n)
        for run, seed, array in arrays:
            replicates[run][seed][draw] = metric(*array[chosen].T)
    return Estimates(scored, n, value, replicates)


def differences(estimates: Estimates) -> dict[tuple[str, str], Difference]:
    """Compare all pairs of runs that have a seed in common."""
    compared = {}
    for first, second in combinations(estimates.value, 2):
        if seeds := sorted(set(estimates.value[first]) & set(estimates.value[second])):
            compared[first, second] = difference(estimates, first, second, seeds)
    return compared


def difference(estimates: Estimates, first: str, second: str, seeds: list[int]) -> Difference:
    by_seed = np.array([estimates.value[first][seed] - estimates.value[second][seed] for seed in seeds])
    of_first, of_second = (np.stack([estimates.scored[run][seed] for seed in seeds]) for run in (first, second))
    same = (of_first == of_second) | (np.isnan(of_first) & np.isnan(of_second))  # (seeds, items, values)
    if estimates.replicates is None:
        pairs, samples = (of_first - of_second).mean(axis=2), estimates.items
    else:
        pairs = [estimates.replicates[first][seed] - estimates.replicates[second][seed] for seed in seeds]
        samples = 1  # a replicate's value has the variance of the mean over items
    over_items, noise = variance(np.mean(pairs, axis=0)) / samples, None
    variances = [(over_items, max(estimates.items - 1, 1))]
    if len(seeds) > 1:
        over_seeds = variance(by_seed) / len(seeds)
        variances.append((over_seeds, len(seeds) - 1))
        of_one_seed = float(np.mean([variance(pair) for pair in pairs])) / samples
        noise = noise_of(estimates.items, len(seeds), of_one_seed, over_items, over_seeds)
    differing = int((~same).any(axis=(0, 2)).sum())
    return Difference(float(by_seed.mean()), variances, estimates.items, len(seeds), differing, noise)


def noise_of(n: int, k: int, of_one_seed: float, over_items: float, over_seeds: float) -> Noise:
    """Return the noise of a difference on n items and k seeds (for a mean, that of a two-way analysis of variance).

    of_one_seed, over_items: its variance over items with one seed and with all. over_seeds: its variance over seeds.
    """
    rest = max(n * (of_one_seed - over_items) * k / (k - 1), 0.0)
    return Noise(max(n * over_items - rest / k, 0.0), max(k * over_seeds - rest / n, 0.0), rest)


def variance(values: np.ndarray) -> float:
    """Return the sample variance of the known values; NaN of fewer than two."""
    known = values[np.isfinite(values)]
    return float(known.var(ddof=1)) if len(known) > 1 else math.nan


def average(parts: list[dict[tuple[str, str], Difference]]) -> dict[tuple[str, str], Difference]:
    """Average the differences of several columns, which are independent, for pairs that all of them have."""
    averaged = {}
    for pair in parts[0]:
        if all(pair in part for part in parts):
            columns = [part[pair] for part in parts]
            value = float(np.mean([column.value for column in columns]))
            variances = [(size / len(parts) ** 2, freedom) for column in columns for size, freedom in column.variances]
            items, differing = (sum(getattr(column, name) for column in columns) for name in ("items", "differing"))
            averaged[pair] = Difference(value, variances, items, min(column.seeds for column in columns), differing)
    return averaged


def holm(values: list[float]) -> list[float]:
    """Adjust p values for the number of tests (Holm, 1979): the chance of any false difference remains below LEVEL.

    NaN means no test, and remains NaN.
    """
    p = np.array(values, float)
    order = np.argsort(p)  # NaN last
    steps = np.isfinite(p).sum() - np.arange(len(p))
    p[order] = np.maximum.accumulate(np.minimum(1.0, steps * p[order]))
    return p.tolist()


def best(means: dict[str, float], p: dict[frozenset, float], lower: bool) -> set[str]:
    """Return the best run and those not distinguishable from it; none unless all others were tested against it."""
    if len(means) < 2:
        return set()
    first = (min if lower else max)(means, key=means.__getitem__)
    against = {run: p.get(frozenset((first, run))) for run in means if run != first}
    if None in against.values():
        return set()
    return {first} | {run for run, value in against.items() if value >= LEVEL}
