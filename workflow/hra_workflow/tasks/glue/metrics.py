"""The metrics of text classifiers. An undefined correlation or F1 (constant predictions) is 0."""

import math

from hra_workflow.core import imports
from hra_workflow.core.errors import expect
from hra_workflow.tasks.metric import CLASSES, REGRESSION, TWO_CLASSES, Metric


def accuracy(labels, predictions) -> float:
    return float((labels == predictions).mean())


def error_of_accuracy(labels, predictions) -> float:
    value = accuracy(labels, predictions)
    return math.sqrt(value * (1 - value) / max(len(labels) - 1, 1))


def f1(labels, predictions) -> float:
    """Compute F1 of class 1."""
    found = ((predictions == 1) & (labels == 1)).sum()
    return float(2 * found / max((predictions == 1).sum() + (labels == 1).sum(), 1))


def macro_f1(labels, predictions) -> float:
    """Compute the mean F1 of the classes that occur."""
    import numpy as np

    return float(np.mean([f1(labels == one, predictions == one) for one in np.union1d(labels, predictions)]))


def accuracy_f1_mean(labels, predictions) -> float:
    """Compute the mean of accuracy and F1, which the official code reports for MRPC and QQP."""
    return (accuracy(labels, predictions) + f1(labels, predictions)) / 2


def pearson(labels, predictions) -> float:
    import numpy as np

    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return float(np.corrcoef(labels, predictions)[0, 1])


def spearman(labels, predictions) -> float:
    from scipy.stats import rankdata

    return pearson(rankdata(labels), rankdata(predictions))


def pearson_spearman_mean(labels, predictions) -> float:
    return (pearson(labels, predictions) + spearman(labels, predictions)) / 2


METRICS = {
    "accuracy": Metric(accuracy, "accuracy", error=error_of_accuracy, answers=True),
    "f1": Metric(f1, "F1", TWO_CLASSES),
    "macro_f1": Metric(macro_f1, "macro F1"),
    "accuracy_f1_mean": Metric(accuracy_f1_mean, "mean of accuracy and F1", TWO_CLASSES),
    # Of two classes, it is Pearson's correlation of the 0/1 values.
    "matthews_correlation": Metric(pearson, "Matthews correlation", TWO_CLASSES),
    "pearson": Metric(pearson, "Pearson correlation", REGRESSION),
    "spearman": Metric(spearman, "Spearman correlation", REGRESSION),
    "pearson_spearman_mean": Metric(pearson_spearman_mean, "mean of Pearson and Spearman", REGRESSION),
}


def find(name: str, key: str = "metric") -> Metric:
    """Return a metric by its name, or import a custom one, `module:name`; errors refer to the config key `key`."""
    return imports.find(METRICS, Metric, name, key)


def check(key: str, names: list[str], labels: list[str] | None) -> None:
    """Raise JobError for a metric that does not exist or is not for these labels; None: a regression."""
    count = len(labels or ())
    kinds = {0: (REGRESSION,), 2: (CLASSES, TWO_CLASSES)}.get(count, (CLASSES,))
    fitting = ", ".join(name for name, metric in METRICS.items() if metric.labels in kinds)
    for name in names:
        wanted = find(name, key).labels
        expect(
            wanted in kinds,
            f"{key}: {name} is for {wanted}, found {f'{count} classes' if count else 'labels: null, a regression'}. "
            f"Use one of {fitting}",
        )


def predictions(logits, labels: list[str] | None):
    """Convert scores (n, classes) to class indices (n,), or (n, 1) to values (n,) for a regression (`labels` None)."""
    return logits[:, 0] if labels is None else logits.argmax(axis=1)


def values(names: list[str], labels, predicted) -> dict[str, float]:
    found = {name: float(find(name).function(labels, predicted)) for name in names}
    for name, value in found.items():
        known = math.isfinite(value) or not math.isfinite(predicted.sum())  # a diverged model predicts NaN
        expect(known, f"metric {name}: expected a finite number, found {value}. Correct its function")
    return found


def values_with_errors(names: list[str], labels, predicted) -> dict[str, dict[str, float]]:
    """Compute `value` and `stderr` per metric, over n items."""
    found = values(names, labels, predicted)
    return {name: {"value": one, "stderr": find(name).standard_error(labels, predicted)} for name, one in found.items()}
