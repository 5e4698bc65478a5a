"""The description of a metric: its function, its name in figures, and its comparison."""

from collections.abc import Callable
from dataclasses import dataclass

from hra_workflow.core.errors import one_of

CLASSES, TWO_CLASSES, REGRESSION = "classes", "two classes", "a regression"


@dataclass(frozen=True)
class Metric:
    """A metric.

    function: takes one array (n items,) per column of Table.per_item and returns the score. For text classifiers the
        columns are labels and predictions: indices of classes or, for a regression, values.
    title: its name in figures and the report.
    labels: the kind of labels it applies to: classes, two classes or a regression.
    better: which values are better, higher or lower.
    error: takes the same arrays and returns the standard error over items; None: estimate it by bootstrap.
    answers: whether an item is right or wrong, and the score is the fraction of right ones.
    version: for a custom metric; increase it when the function returns other values, so that they are computed again.
    """

    function: Callable[..., float]
    title: str
    labels: str = CLASSES
    better: str = "higher"
    error: Callable[..., float] | None = None
    answers: bool = False
    version: int = 1

    def __post_init__(self):
        one_of(f"Metric {self.title!r}: labels", "value", self.labels, (CLASSES, TWO_CLASSES, REGRESSION))
        one_of(f"Metric {self.title!r}: better", "value", self.better, ("higher", "lower"))

    def standard_error(self, *columns) -> float:
        """Return the standard error over items."""
        if self.error:
            return self.error(*columns)
        from numpy.random import default_rng
        from scipy.stats import bootstrap

        # One sample at a time: 1000 samples of QQP's 40,430 items take a gigabyte.
        found = bootstrap(
            columns, self.function, n_resamples=1000, batch=1, paired=True, vectorized=False,
            method="percentile", rng=default_rng(0),
        )  # fmt: skip
        return float(found.standard_error)
