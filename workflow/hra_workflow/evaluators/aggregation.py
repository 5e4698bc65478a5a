"""Aggregation of per-image scores to per-run metrics: means, the reported step, blocked images.

`Table` is metric -> step -> one value per prompt (NaN if all its images were blocked). Pure Python and NumPy.
"""

from collections import defaultdict

import numpy as np

Table = dict[str, dict[int, np.ndarray]]


def table(rows: list[dict], metrics: list[str], prompts: int) -> Table:
    """Average over the images of each (step, prompt). rows: `step`, `prompt_index`, and a value or None per metric."""
    groups: dict[tuple, list[float]] = defaultdict(list)
    for row in rows:
        for name in metrics:
            if row[name] is not None:
                groups[name, row["step"], row["prompt_index"]].append(row[name])
    steps = sorted({row["step"] for row in rows})
    return {
        name: {
            step: np.array([np.mean(groups.get((name, step, prompt)) or [np.nan]) for prompt in range(prompts)])
            for step in steps
        }
        for name in metrics
    }


def last(scores: Table) -> dict[str, np.ndarray]:
    return {name: by_step[max(by_step)] for name, by_step in scores.items()}


def best_on_test(scores: Table, best_by: list[str]) -> dict[str, np.ndarray]:
    """Choose the values of each prompt's best step by the official rule (get_result.py).

    The best step has the largest sum over metrics of the value divided by its range over the steps. The rule selects on
    the same data that it reports. A metric with range 0 is ignored here (the official code divides by it), and so is
    a metric without values (all images were blocked). A step whose images were all blocked is not chosen.
    """
    one = next(iter(scores.values()))
    steps = sorted(one)
    total = np.zeros((len(steps), len(one[steps[0]])))
    for name in [name for name in best_by if name in scores]:
        values = np.stack([scores[name][step] for step in steps])  # (steps, prompts)
        known = ~np.isnan(values)
        lowest = np.where(known, values, np.inf).min(axis=0)
        width = np.where(known, values, -np.inf).max(axis=0) - lowest
        total = total + np.divide(values - lowest, width, out=np.where(known, 0.0, np.nan), where=known & (width > 0))
    chosen = np.where(np.isnan(total), -np.inf, total).argmax(axis=0)
    return {
        name: np.array([by_step[steps[step]][prompt] for prompt, step in enumerate(chosen)])
        for name, by_step in scores.items()
    }


def summary(values: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Compute the means, over prompts or images, and their standard errors; a metric without a value is omitted."""
    result = {}
    for name, found in values.items():
        found = found[~np.isnan(found)]
        if len(found):
            error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else 0.0
            result[name] = {"value": float(found.mean()), "stderr": float(error)}
    return result


def of_run(rows: list[dict], metrics: list[str], others: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Average the metrics over the rows of all images. `others`: metrics that are not means over images."""
    scored = [name for name in metrics if name not in others and any(name in row for row in rows)]
    found = others | summary({name: np.array([row[name] for row in rows], float) for name in scored})
    return {name: found[name] for name in metrics if name in found}
