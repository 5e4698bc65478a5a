"""Power: its formula against simulated studies, the noise of finished runs, and what `make power` prints."""

from itertools import pairwise

import numpy as np
import pytest

import compare
import factories
from benchmarks import coverage
from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core.errors import JobError
from hra_workflow.cost import power as planned
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.report import comparison, power, run_statistics
from hra_workflow.tasks.glue import metrics
from support import paper_config
from test_compared_tables import make


def fixed(items: int, *noise: float) -> power.Column:
    return power.Column(items, lambda _: comparison.Noise(*noise))


@pytest.mark.parametrize(
    ("items", "points", "seeds", "difference"),
    [(872, 0.5, 5, 2), (872, 1.5, 10, 3), (300, 4, 3, 10), (1500, 0.5, 3, 2)],
)
def test_it_is_that_of_2000_simulated_studies(items, points, seeds, difference):
    """Two runs as in docs/statistics.md, one of which is wrong on more items; the p is the tables'."""
    rest = power.stated(coverage.ACCURACY, 0, items).noise(0).rest / 2
    observed = np.sqrt((points / 100) ** 2 + rest / items)  # as a table shows it: with the noise of the items
    rng, significant = np.random.default_rng(items + seeds), 0
    for _ in range(2000):
        drawn = coverage.runs(rng, "ab", items, seeds, points)
        worse = drawn["b"] & (rng.random(items) >= difference / 100 / coverage.ACCURACY)
        pairs = drawn["a"].astype(float) - worse
        parts = [(pairs.mean(axis=axis).var(ddof=1) / n, n - 1) for axis, n in ((0, items), (1, seeds))]
        differing = int((pairs != 0).any(axis=0).sum())
        found = comparison.Difference(float(pairs.mean()), parts, items, seeds, differing)
        significant += found.p < comparison.LEVEL
    computed = power.power(difference / 100, [power.stated(coverage.ACCURACY, observed, items)], seeds)
    assert computed == pytest.approx(significant / 2000, abs=0.02) and 0.1 < computed < 0.99


def test_noise_is_estimated_without_bias_for_means_and_for_metrics_of_all_items():
    """One true noise, many small studies; the metric of labels and predictions goes through the bootstrap."""
    rng, true, found = np.random.default_rng(0), comparison.Noise(0.04, 0.04, 0.09), []
    k, n = 4, 50
    for _ in range(1000):
        parts = [scale * rng.standard_normal(size) for scale, size in ((0.2, n), (0.2, (k, 1)), (0.3, (k, n)))]
        scored = {"a": {seed: one[:, None] for seed, one in enumerate(sum(parts))}}
        scored["b"] = {seed: np.zeros((n, 1)) for seed in range(k)}
        found.append(comparison.difference(comparison.estimate(scored, comparison.mean), "a", "b", [*range(k)]).noise)
    for part in ("items", "seeds", "rest"):
        assert np.mean([getattr(one, part) for one in found]) == pytest.approx(getattr(true, part), rel=0.1)

    labels = rng.integers(0, 2, 400)
    right = {run: {seed: rng.random(400) < level for seed in range(5)} for run, level in (("a", 0.9), ("b", 0.8))}
    as_labels = {
        run: {seed: np.stack([labels, np.where(one, labels, 1 - labels)], axis=1) for seed, one in of.items()}
        for run, of in right.items()
    }
    of_means = {run: {seed: one[:, None].astype(float) for seed, one in of.items()} for run, of in right.items()}
    first, second = (
        comparison.differences(comparison.estimate(scored, metric))["a", "b"].noise
        for scored, metric in ((of_means, comparison.mean), (as_labels, metrics.accuracy))
    )
    assert second.rest == pytest.approx(first.rest, rel=0.1) and second.items == pytest.approx(first.items, abs=0.01)


def test_the_smallest_difference_and_the_seeds_have_the_goal():
    column = power.stated(0.85, 0.015, 872)
    for seeds in (3, 5, 20):
        smallest = power.smallest_difference([column], seeds)
        assert power.power(smallest, [column], seeds) == pytest.approx(power.GOAL, abs=0.01)
    for difference in (0.02, 0.05, 0.2):
        needed = power.seeds_needed(difference, [column])
        assert power.power(difference, [column], needed) >= power.GOAL
        assert needed == power.SEEDS or power.power(difference, [column], needed - 1) < power.GOAL
    found = [power.power(difference / 100, [column], 5) for difference in range(0, 12, 2)]
    assert all(low < high for low, high in pairwise(found)) and 0 < found[0] < comparison.LEVEL


def test_what_seeds_cannot_show_has_no_number():
    assert power.smallest_difference([fixed(872, 0, 0, 0.1)], 2) is None and power.power(1, [fixed(9, 0, 0, 1)], 2) == 0
    assert power.seeds_needed(0.001, [fixed(100, 0.1, 0, 0.1)]) is None  # the items differ, whatever the seed
    assert power.power(0.1, [fixed(9, 0, 0, 0)], 3) == 1 and power.power(0, [fixed(9, 0, 0, 0)], 3) == 0


def test_an_average_of_equal_columns_shows_smaller_differences():
    column = fixed(1000, 0.01, 1e-4, 0.1)
    one, four = (power.smallest_difference([column] * count, 5) for count in (1, 4))
    assert one / 2.6 < four < one / 1.9  # half of the error, and more degrees of freedom


# In the plan


def grid_of(results, **changes) -> dict:
    """Return the paper's config with these runs on RTE in the GLUE table."""
    config = paper_config()
    config["pathvars"] |= {"results": str(results)}
    config["power"] |= changes
    glue = config["tasks"]["glue"]
    glue["grid"] = [{"runs": ["hra/r8", "lora/r8"], "datasets": ["rte", "cola"], "seeds": [0, 1, 2, 3]}]
    glue["columns"] = [column for column in glue["columns"] if column["name"] in ("RTE", "CoLA")]
    glue["averages"] = []
    return config


def jobs() -> list[Job]:
    names = [
        {"task": "glue", "dataset": "rte", "method": method, "variant": "r8", "seed": str(seed)}
        for method in ("hra", "lora") for seed in range(4)
    ]  # fmt: skip
    return [Job("train_glue", one, ["out"], "log", gpus=1, work=10.0, stated=1800.0) for one in names]


def test_finished_runs_have_shown_the_noise(tmp_path, capsys):
    make(tmp_path)
    pairs = run_statistics.read_csv(tmp_path / "compare_glue.csv").set_index("column").loc["RTE"]
    first = pairs[pairs["selection"] == "best_on_dev"].iloc[0]
    assert all(float(first[name]) >= 0 for name in power.NOISE) and list(pairs.columns)[-3:] == list(power.NOISE)
    config = grid_of(tmp_path, effect=5.0)
    by_name = {one.name: one for one in planned.columns(config, tasks.load(config)["glue"])}
    (part,), noise = by_name["RTE"].parts, by_name["RTE"].parts[0].noise(0.0)
    assert part.items == 300 and by_name["RTE"].seeds == 4 and not by_name["CoLA"].parts
    (of_grid,) = pairs.loc[(pairs["selection"] == "best_on_dev") & (pairs["run_b"] == "lora/r8"), "noise_rest"]
    assert 1e4 * noise.rest == pytest.approx(float(of_grid))  # head/all is not in the grid, nor a variant of the config
    planned.show(config, {"table_glue": jobs(), "table_retention": []})
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    rows = {cells[0]: cells[1:] for cells in lines if cells}
    assert rows["CoLA"] == ["–", "4", "–", "–", "–", "–", "unknown"]
    assert rows["RTE"][:2] == ["300", "4"] and rows["RTE"][-1] == "finished runs"
    assert rows["RTE"][5] == f"{int(rows['RTE'][4])} GPU-hours"  # two runs of half an hour each per seed
    (line,) = planned.line(config, "table_glue")
    assert line.startswith("  power:    80 % for differences of ") and line.endswith(
        " (RTE, 4 seeds), by finished runs"
    )
    assert planned.line(config, "table_retention") == []


def test_stated_noise_is_for_columns_of_answers(tmp_path):
    config = grid_of(tmp_path, score=70.0, deviation=1.0)
    (line,) = planned.line(config, "table_glue")
    assert "(RTE, 4 seeds)" in line and line.endswith("by the stated noise")  # CoLA's is a correlation
    assert planned.line(grid_of(tmp_path), "table_glue") == [f"  power:    {planned.UNKNOWN}"]
    config["tasks"]["glue"]["grid"][0]["seeds"] = [0, 1]
    assert planned.line(config, "table_glue")[0].endswith("no p with fewer than 3 seeds per run")


def test_an_edited_comparison_is_not_used(tmp_path):
    make(tmp_path)
    with (tmp_path / "compare_glue.csv").open("a") as file:
        file.write("\n")
    assert planned.line(grid_of(tmp_path), "table_glue") == [f"  power:    {planned.UNKNOWN}"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"effect": 0.0}, "power.effect: 0.0 is less than or equal to the minimum of 0"),
        ({"effect": "a point"}, "power.effect: 'a point' is not of type 'number'"),
        ({"score": 100.0, "deviation": 1.0}, "power.score: 100.0 is greater than or equal to the maximum of 100"),
        ({"score": 85.0, "deviation": -1.0}, "power.deviation: -1.0 is less than the minimum of 0"),
        ({"score": 85.0}, "power: expected both `score` and `deviation`, or neither, found one. Add the other"),
    ],
)
def test_wrong_values_are_errors(changes, message):
    config = paper_config()
    config["power"] |= changes
    with pytest.raises(JobError, match=message):
        validation.check(config)


def test_the_columns_of_noise_have_one_name():
    assert tuple(factories.COMPARED[-3:]) == power.NOISE == tuple(compare.COLUMNS[-3:])
