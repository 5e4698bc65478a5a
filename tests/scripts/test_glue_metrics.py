"""GLUE metrics against their definitions, and their standard errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.glue import metrics
from hra_workflow.tasks.metric import Metric

LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_against_scikit_learn_and_scipy(seed):
    from scipy import stats
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    generator = np.random.default_rng(seed)
    labels, predicted = generator.integers(0, 2, 20), generator.integers(0, 2, 20)
    assert metrics.accuracy(labels, predicted) == accuracy_score(labels, predicted)
    assert metrics.f1(labels, predicted) == pytest.approx(f1 := f1_score(labels, predicted, zero_division=0))
    assert metrics.accuracy_f1_mean(labels, predicted) == pytest.approx((accuracy_score(labels, predicted) + f1) / 2)
    matthews = metrics.find("matthews_correlation").function
    assert matthews(labels, predicted) == pytest.approx(matthews_corrcoef(labels, predicted))
    classes, others = generator.integers(0, 5, 20), generator.integers(0, 5, 20)
    macro = f1_score(classes, others, average="macro", zero_division=0)
    assert metrics.macro_f1(classes, others) == pytest.approx(macro)
    real, scored = generator.normal(size=20), generator.integers(0, 5, 20).astype(float)
    assert metrics.pearson(real, scored) == pytest.approx(stats.pearsonr(real, scored)[0])
    assert metrics.spearman(real, scored) == pytest.approx(stats.spearmanr(real, scored)[0])


@pytest.mark.parametrize("name", metrics.METRICS)
def test_constant_predictions_have_a_value(name):
    value = metrics.METRICS[name].function(LABELS, np.zeros(8, dtype=int))
    assert np.isfinite(value)


def test_a_metric_of_finite_predictions_is_finite(monkeypatch):
    monkeypatch.setitem(metrics.METRICS, "ratio", Metric(lambda labels, predictions: np.nan, "ratio"))
    with pytest.raises(JobError, match="metric ratio: expected a finite number, found nan"):
        metrics.values(["ratio"], LABELS, LABELS)
    assert np.isnan(metrics.values(["ratio"], LABELS, LABELS + np.inf)["ratio"])  # of a run that diverges


def test_bootstrap_agrees_with_the_formula_where_there_is_one():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    predicted = np.where(generator.random(400) < 0.8, labels, 1 - labels)
    formula = metrics.values_with_errors(["accuracy"], labels, predicted)["accuracy"]["stderr"]
    rate = (labels == predicted).mean()
    assert formula == pytest.approx(np.sqrt(rate * (1 - rate) / 399))
    assert Metric(metrics.accuracy, "").standard_error(labels, predicted) == pytest.approx(formula, rel=0.1)


def test_predictions_are_classes_or_values():
    logits = np.array([[0.1, 0.9], [2.0, 1.0]])
    assert metrics.predictions(logits, ["a", "b"]).tolist() == [1, 0]
    assert metrics.predictions(logits[:, :1], None).tolist() == [0.1, 2.0]
