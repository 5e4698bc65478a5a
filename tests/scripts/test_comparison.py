"""Differences between runs against textbook tests, and what each task's are computed from."""

import re

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from hra_workflow import tasks
from hra_workflow.evaluators import aggregation
from hra_workflow.report import comparison
from hra_workflow.tasks.glue import metrics

N = 300


def drawn(seed: int, level: float) -> np.ndarray:
    """Draw whether each of N answers is right."""
    return (np.random.default_rng(seed).random(N) < level).astype(float)[:, None]


def compared(first: dict, second: dict, metric=comparison.mean) -> comparison.Difference:
    return comparison.differences(comparison.estimate({"a": first, "b": second}, metric))["a", "b"]


def in_seeds(run: np.ndarray, seeds: int = 3) -> dict:
    return dict.fromkeys(range(seeds), run)


@pytest.mark.parametrize("level", [0.70, 0.80])
def test_seeds_without_spread_agree_with_the_paired_t_test_and_mcnemars(level):
    first, second = drawn(0, level), drawn(1, 0.7)
    found = compared(in_seeds(first), in_seeds(second))
    assert found.value == pytest.approx(first.mean() - second.mean()) and (found.items, found.seeds) == (N, 3)
    t = stats.ttest_rel(first[:, 0], second[:, 0])
    assert found.interval == pytest.approx(tuple(t.confidence_interval()))
    assert found.p == pytest.approx(t.pvalue)
    margins = [
        stats.ttest_rel(first[:, 0] + shift, second[:, 0], alternative=side).pvalue
        for shift, side in ((0.05, "greater"), (-0.05, "less"))
    ]
    assert found.p_equivalent(0.05) == pytest.approx(max(margins))
    better, worse = (int(((first - second)[:, 0] == sign).sum()) for sign in (1, -1))
    assert found.p == pytest.approx(stats.binomtest(better, better + worse).pvalue, abs=0.06)


def test_it_agrees_with_scipys_bootstrap_of_a_correlation():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, N)
    runs = [np.where(rng.random(N) < level, labels, 1 - labels) for level in (0.9, 0.8)]
    first, second = (np.stack([labels, run], axis=1).astype(float) for run in runs)
    mcc = metrics.pearson
    found = compared({0: first}, {0: second}, mcc)
    theirs = stats.bootstrap(
        (labels, *runs), lambda y, a, b: mcc(y, a) - mcc(y, b), paired=True, vectorized=False, method="percentile",
        n_resamples=1000, rng=rng,
    )  # fmt: skip
    assert found.value == pytest.approx(mcc(labels, runs[0]) - mcc(labels, runs[1]))
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)


def test_a_metric_of_all_items_is_computed_on_the_same_items_for_both_runs():
    """A difference that is the same on every item has no variance, although the items differ."""
    run = np.random.default_rng(0).random((50, 1))
    found = compared({0: run + 1}, {0: run}, lambda values: float(np.median(values)))
    assert found.value == pytest.approx(1) and found.error == pytest.approx(0, abs=1e-12)


def test_variances_of_items_and_seeds_add_up():
    """The items alone: the paired t-test, above. The seeds alone: the t-test over seeds."""
    level = compared({seed: np.full((N, 1), seed / 7) for seed in range(5)}, in_seeds(np.zeros((N, 1)), 5))
    assert level.p == pytest.approx(stats.ttest_1samp([seed / 7 for seed in range(5)], 0).pvalue)
    first, second = ({seed: drawn(seed + start, 0.8) for seed in range(5)} for start in (0, 9))
    found = compared(first, second)
    each = np.stack([first[seed] - second[seed] for seed in range(5)])[..., 0]
    parts = each.mean(0).var(ddof=1) / N, each.mean(1).var(ddof=1) / 5
    assert found.error == pytest.approx(np.sqrt(sum(parts)))
    assert found.freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / (N - 1) + parts[1] ** 2 / 4))


def test_intervals_cover_the_true_difference():
    """A cell of benchmarks/README.md as `python -m benchmarks.coverage` writes it, and others with few simulations."""
    found = coverage.cell(300, 1.5, 3, coverage.SIMULATIONS)
    (row,) = re.findall(r"^\| accuracy, 300 items, 1\.5 .*", coverage.PAGE.read_text(), re.MULTILINE)
    assert row.split("|")[4].strip() == found
    covered, rejected = map(float, found.strip(")").split(" ("))
    assert 0.91 < covered < 0.98 and rejected == pytest.approx(1 - covered, abs=0.011)
    assert float(coverage.cell(300, 4, 1, 200)) < 0.7  # one seed does not show how much seeds differ
    significant, equivalent = map(float, coverage.power(1500, 0.5, 5, 4, 100).split(" / "))
    assert significant > 0.9 > equivalent and float(coverage.any_difference(300, 1, 3, 20)) < 0.3


def test_without_a_value_or_a_third_common_seed_there_is_no_p():
    first, second = drawn(0, 0.9), drawn(1, 0.1)
    assert [np.isnan(compared(in_seeds(first, n), in_seeds(second, n)).p) for n in (1, 2, 3)] == [True, True, False]
    assert np.isfinite(compared({0: first}, {0: second}).interval).all()
    unknown = compared(in_seeds(np.full_like(first, np.nan)), in_seeds(second))
    assert np.isnan([unknown.value, unknown.p, *unknown.interval]).all()
    rare = np.full((4, 1), np.nan)
    rare[0] = 1.0  # a third of the replicates have no item with a value
    found = compared(in_seeds(rare), in_seeds(np.zeros((4, 1))))
    assert found.value == 1 and found.p == 2 / 2**4 and found.interval == (1, 1)
    single = compared(in_seeds(first[:1]), in_seeds(second[:1]))
    assert np.isnan([single.p, single.p_equivalent(1), *single.interval]).all()


def test_equal_runs_do_not_differ_and_only_common_seeds_count():
    run = drawn(0, 0.7)
    same = compared(in_seeds(run) | {3: drawn(1, 0.9)}, in_seeds(run) | {4: drawn(2, 0.1)})
    assert (same.interval, same.p, same.seeds, same.p_equivalent(0.01)) == ((0, 0), 1, 3, 0)
    assert not comparison.differences(comparison.estimate({"a": {0: run}, "b": {1: run}}, comparison.mean))


def columns(*seeds: int) -> list[dict]:
    """Compute the differences of two runs in columns with these numbers of seeds."""
    runs = [
        {name: in_seeds(drawn(k + 9 * place, 0.8 - place / 10), n) for place, name in enumerate("ab")}
        for k, n in enumerate(seeds)
    ]
    return [comparison.differences(comparison.estimate(one, comparison.mean)) for one in runs]


def test_an_average_has_the_standard_error_of_independent_columns():
    parts = columns(1, 1, 1, 1)
    both, several = comparison.average(parts)["a", "b"], [part["a", "b"] for part in parts]
    assert both.value == pytest.approx(np.mean([one.value for one in several])) and both.items == 4 * N
    assert both.error == pytest.approx(np.sqrt(sum(one.error**2 for one in several)) / 4)
    assert N - 1 < both.freedom < 4 * N
    assert comparison.average([*parts, {}]) == {}
    untested = comparison.average(columns(2, 10))["a", "b"]
    assert (untested.seeds, untested.tested) == (2, False) and np.isnan(untested.p)


def test_holm():
    assert comparison.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert comparison.holm([0.9, 0.8]) == [1, 1] and comparison.holm([]) == []
    assert comparison.holm([0.01, np.nan, 0.03]) == pytest.approx([0.02, np.nan, 0.03], nan_ok=True)


def test_the_best_and_what_is_not_distinguishable_from_it():
    p = {frozenset("ab"): 0.2, frozenset("ac"): 0.001, frozenset("bc"): 0.3}
    means = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert comparison.best(means, p, lower=False) == {"a", "b"}
    assert comparison.best(means, p, lower=True) == {"c", "b"}
    assert comparison.best({"a": 3.0}, p, lower=False) == set() == comparison.best(means, {}, lower=False)
    del p[frozenset("ab")]  # untested is neither worse nor indistinguishable
    assert comparison.best(means, p, lower=False) == set()


def test_runs_on_other_items_are_refused():
    with pytest.raises(ValueError, match=r"found \[10, 300\]"):
        comparison.estimate({"a": {0: drawn(0, 0.5)}, "b": {0: drawn(0, 0.5)[:10]}}, comparison.mean)


def test_what_each_task_s_metrics_are_computed_from():
    glue, subject, math, control = (tasks.classes()[name].per_item for name in ("glue", "subject", "math", "control"))
    lines = [{"label": 1, "last": [0.1, 0.9, 0.3]}, {"label": 0, "last": [0.1, 0.9, 0.3]}]
    assert glue(lines, "last", "accuracy", {}) == [(1, 1), (0, 1)]  # the class with the highest score
    assert glue([{"label": 2.5, "last": [2.25]}], "last", "pearson", {}) == [(2.5, 2.25)]
    assert math([{"strict": {"right": True}}], "last", "strict", {}) == [(True,)]
    line = {"canny_iou": 0.5, "mmseg_miou": 0.5}  # mIoU of one image: the run's is not their mean
    found = [control([line], "last", name, {"of_run": ["mmseg_miou", "fid"]}) for name in (*line, "fid")]
    assert found == [[(0.5,)], None, None]
    rng = np.random.default_rng(0)
    rows = [
        {"key": "", "step": step, "prompt_index": prompt, "index": i, "dino": rng.random(), "clip": rng.random()}
        for step in (1, 2) for prompt in range(3) for i in range(4)
    ]  # fmt: skip
    scores = aggregation.table(rows, ["dino", "clip"], 3)
    chosen = {"last": aggregation.last(scores), "best_on_test": aggregation.best_on_test(scores, ["dino", "clip"])}
    for selection, values in chosen.items():  # one value per prompt, at the reported step
        found = subject(rows, selection, "dino", {"best_by": ["dino", "clip"]})
        assert [value for (value,) in found] == values["dino"].tolist()
    assert subject([{"step": 0, "prompt_index": 0, "dino": 0.5}], "last", "dino", {}) is None
