"""Simulate the coverage of the tables' 95 % intervals: how often they contain the true difference of two runs.

    python -m benchmarks.coverage            write the tables of benchmarks/README.md, in two minutes on one core
    python -m benchmarks.coverage 100        print them, with 100 simulations per cell instead of 1,000

Two equal runs answer the same items. An answer is correct if a latent normal variable is below a threshold; half of its
variance belongs to the item and is shared by all seeds of both runs. A seed shifts the threshold, so that accuracy, on
average 85 %, has the given standard deviation between seeds, in points. Intervals and p are those of
`hra_workflow.report.comparison`, as workflow/scripts/compare.py computes them.
"""

import sys
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy.stats import norm

from benchmarks.tables import ROOT, put
from hra_workflow.report import comparison
from hra_workflow.report.markdown_text import table
from hra_workflow.tasks.glue import metrics

PAGE = ROOT / "benchmarks/README.md"
SIMULATIONS = 1000  # simulations per cell of the page
ACCURACY, SHARED = 0.85, 0.5
SEEDS = (1, 2, 3, 5)
THRESHOLD = norm.ppf(ACCURACY)
SLOPE = norm.pdf(THRESHOLD)  # accuracy per unit of the threshold


def runs(rng: np.random.Generator, names: str, items: int, seeds: int, points: float) -> dict[str, np.ndarray]:
    """Sample whether each answer of each run is correct: (seeds, items) by the run's name."""
    of_items = np.sqrt(SHARED) * rng.standard_normal(items)
    drawn = {}
    for name in names:
        threshold = THRESHOLD + points / 100 / SLOPE * rng.standard_normal((seeds, 1))
        drawn[name] = of_items + np.sqrt(1 - SHARED) * rng.standard_normal((seeds, items)) < threshold
    return drawn


def differences(answers: dict[str, np.ndarray], labels: np.ndarray | None = None, metric=comparison.mean) -> dict:
    """Compare the runs as compare.py does; with labels (items,), by a metric of labels and predicted labels."""
    scored = {
        name: {
            seed: (one[:, None] if labels is None else np.stack([labels, labels ^ ~one], axis=1)).astype(float)
            for seed, one in enumerate(of_run)
        }
        for name, of_run in answers.items()
    }
    return comparison.differences(comparison.estimate(scored, metric))


def cell(items: int, points: float, seeds: int, simulations: int, metric=None) -> str:
    """Return `coverage (rate of p < 0.05)`, without the rate if a test needs more seeds."""
    rng, covered, rejected = np.random.default_rng([items, round(10 * points), seeds]), [], []
    for _ in range(simulations):
        labels = rng.random(items) < 0.5 if metric else None
        found = differences(runs(rng, "ab", items, seeds, points), labels, metric or comparison.mean)["a", "b"]
        low, high = found.interval
        covered.append(low <= 0 <= high)
        rejected.append(found.p < comparison.LEVEL)
    rate = f" ({np.mean(rejected):.2f})" if seeds >= comparison.SEEDS else ""
    return f"{np.mean(covered):.3f}{rate}"


def any_difference(items: int, points: float, seeds: int, simulations: int) -> str:
    """Return the rate at which any pair of nine equal methods differs significantly with Holm's correction."""
    rng, several = np.random.default_rng([9, round(10 * points), seeds]), []
    for _ in range(simulations):
        found = differences(runs(rng, "abcdefghi", items, seeds, points))
        several.append(min(comparison.holm([found[pair].p for pair in combinations("abcdefghi", 2)])))
    return f"{np.mean(np.array(several) < comparison.LEVEL):.2f}"


def power(items: int, points: float, seeds: int, difference: float, simulations: int) -> str:
    """Return the rates at which this difference in accuracy is significant, and a difference of 0 equivalent."""
    rng, significant, equivalent = np.random.default_rng([items, round(10 * points), seeds, 2]), [], []
    for _ in range(simulations):
        answers = runs(rng, "ab", items, seeds, points)
        equivalent.append(differences(answers)["a", "b"].p_equivalent(comparison.MARGIN / 100) < comparison.LEVEL)
        worse = answers["b"] & (rng.random(items) >= difference / 100 / ACCURACY)  # the same items in every seed
        significant.append(differences(answers | {"b": worse})["a", "b"].p < comparison.LEVEL)
    return f"{np.mean(significant):.2f} / {np.mean(equivalent):.2f}"


def rows(simulations: int) -> list[list[str]]:
    cases = [(items, points) for items in (300, 872, 1500) for points in (0.5, 1.5, 4)]
    lines = [
        [f"accuracy, {items} items, {points:g}", *(cell(items, points, seeds, simulations) for seeds in SEEDS)]
        for items, points in cases
    ]
    few = max(simulations // 10, 1)  # with 1,000 replicates each
    lines += [
        [f"{name}, 300 items, 1.5", *(cell(300, 1.5, seeds, few, metric) for seeds in SEEDS)]
        for name, metric in (("Matthews", metrics.pearson), ("F1", metrics.f1))
    ]
    return lines


def made(simulations: int) -> Iterator[tuple[str, str]]:
    """Yield the tables of the page by name."""
    heading = ["seeds", *map(str, SEEDS)]
    yield "coverage", table([heading, *rows(simulations)], ["left"] + ["right"] * 4)
    nine = [
        [f"nine equal methods, 872 items, {points:g}", "", ""]
        + [any_difference(872, points, seeds, simulations // 4 or 1) for seeds in SEEDS if seeds >= comparison.SEEDS]
        for points in (1, 4)
    ]
    yield "nine methods", table([heading, *nine], ["left"] + ["right"] * 4)
    heading = ["seeds", "3", "5", "10"]
    lines = [
        [f"{items} items, {points:g}, {difference:g}"]
        + [power(items, points, seeds, difference, simulations // 4 or 1) for seeds in (3, 5, 10)]
        for items in (872, 1500) for points in (0.5, 1.5) for difference in (1, 2)
    ]  # fmt: skip
    yield "power", table([heading, *lines], ["left"] + ["right"] * 3)


def main() -> None:
    for name, lines in made(int(sys.argv[1]) if len(sys.argv) > 1 else SIMULATIONS):
        if len(sys.argv) > 1:
            print(lines, flush=True)
        else:
            put(PAGE, name, [lines])


if __name__ == "__main__":
    main()
