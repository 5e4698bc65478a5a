"""GLUE's metrics with standard errors.

accuracy: fraction of correct answers, with standard error √(p(1−p)/(n−1)). For the others the standard error is the
standard deviation over bootstrap samples of the items. An undefined correlation or F1 (constant predictions) is 0.
"""

import numpy as np

BOOTSTRAP_SAMPLES = 1000


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(np.mean(labels == predictions))


def f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Compute F1 of class 1."""
    found = np.sum((predictions == 1) & (labels == 1))
    return float(2 * found / max(np.sum(predictions == 1) + np.sum(labels == 1), 1))


def macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Compute the mean of every class's F1, of those that occur."""
    return float(np.mean([f1(labels == one, predictions == one) for one in np.union1d(labels, predictions)]))


def accuracy_f1_mean(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Compute the mean of accuracy and F1, which the official code reports for MRPC and QQP."""
    return (accuracy(labels, predictions) + f1(labels, predictions)) / 2


def matthews_correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Compute it for two classes, where it equals Pearson's correlation of the 0/1 values."""
    return pearson(labels, predictions)


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return float(np.corrcoef(labels, predictions)[0, 1])


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    from scipy.stats import rankdata

    return pearson(rankdata(labels), rankdata(predictions))


def pearson_spearman_mean(labels: np.ndarray, predictions: np.ndarray) -> float:
    return (pearson(labels, predictions) + spearman(labels, predictions)) / 2


METRICS = {
    function.__name__: function
    for function in (
        accuracy,
        f1,
        macro_f1,
        accuracy_f1_mean,
        matthews_correlation,
        pearson,
        spearman,
        pearson_spearman_mean,
    )
}


def predictions(logits: np.ndarray, labels: list[str] | None) -> np.ndarray:
    """Convert scores (n, classes) to class indices (n,), or (n, 1) to values (n,) for a regression (`labels` None)."""
    return logits[:, 0] if labels is None else logits.argmax(axis=1)


def values(names: list[str], labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {name: METRICS[name](labels, predicted) for name in names}


def values_with_errors(names: list[str], labels: np.ndarray, predicted: np.ndarray) -> dict[str, dict[str, float]]:
    """Compute `value` and `stderr` per metric, over n items."""
    n = len(labels)
    result = {}
    for name, value in values(names, labels, predicted).items():
        if name == "accuracy":
            error = np.sqrt(value * (1 - value) / max(n - 1, 1))
        else:
            error = bootstrap_error(METRICS[name], labels, predicted)
        result[name] = {"value": value, "stderr": float(error)}
    return result


def bootstrap_error(metric, labels: np.ndarray, predicted: np.ndarray) -> float:
    from scipy.stats import bootstrap

    # One sample at a time: 1000 samples of QQP's 40,430 items take a gigabyte.
    found = bootstrap(
        (labels, predicted), metric, n_resamples=BOOTSTRAP_SAMPLES, batch=1, paired=True, vectorized=False,
        method="percentile", rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.standard_error)
