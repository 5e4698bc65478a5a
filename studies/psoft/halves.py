"""Metrics on one half of a set of rows: one half selects the checkpoint, the other half is reported.

This is the rule of PSOFT (arXiv 2505.11235v3, appendix F.2). The halves are those of its code (fei407/PSOFT at 783a5e2,
1-NLU/fine-tuning_glue.py) with the seed 42 of its script: the row numbers are shuffled by numpy's legacy generator, and
the first half selects. The code uses the seed of the training, so its other four seeds have other halves.
"""

from collections.abc import Callable

from hra_workflow.tasks.glue import metrics
from hra_workflow.tasks.metric import CLASSES, REGRESSION, TWO_CLASSES, Metric

SEED = 42


def rows(count: int, selecting: bool):
    """Return the row numbers, out of `count`, of the half that selects, or else of the half that is reported."""
    import numpy as np

    order = np.arange(count)
    np.random.RandomState(SEED).shuffle(order)
    return order[: count // 2] if selecting else order[count // 2 :]


def on_half(function: Callable[..., float], selecting: bool) -> Callable[..., float]:
    """Return `function` of labels and predictions, (n,) each, restricted to one half of their rows."""

    def value(labels, predictions) -> float:
        chosen = rows(len(labels), selecting)
        return function(labels[chosen], predictions[chosen])

    return value


def halved(name: str, labels: str, selecting: bool) -> Metric:
    """Return the workflow's metric `name` for one half of the rows."""
    whole = metrics.METRICS[name]
    error = whole.error and on_half(whole.error, selecting)
    return Metric(on_half(whole.function, selecting), whole.title, labels, error=error)


SELECTING_ACCURACY, ACCURACY = (halved("accuracy", CLASSES, half) for half in (True, False))
SELECTING_MATTHEWS, MATTHEWS = (halved("matthews_correlation", TWO_CLASSES, half) for half in (True, False))
SELECTING_PEARSON, PEARSON = (halved("pearson", REGRESSION, half) for half in (True, False))
