"""Power: its formula against simulated studies, the noise of finished runs, and what `hra-workflow power` prints."""

from itertools import pairwise, product

import numpy as np
import pytest

import compare
from benchmarks import coverage
from hra_results import power as planned
from hra_results import power_formulas as power
from hra_workflow import tasks
from hra_workflow.report import comparison, run_statistics
from support import paper_config
from test_compared_tables import make


def fixed(items: int, *noise: float) -> power.Column:
    return power.Column(items, lambda _: comparison.Noise(*noise))


@pytest.mark.parametrize(("items", "points", "seeds", "difference"), [(872, 0.5, 5, 2), (300, 4, 3, 10)])
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


def test_the_smallest_difference_and_the_seeds_have_the_goal():
    column = power.stated(0.85, 0.015, 872)
    for seeds in (3, 20):
        smallest = power.smallest_difference([column], seeds)
        assert power.power(smallest, [column], seeds) == pytest.approx(power.GOAL, abs=0.01)
    for difference in (0.02, 0.2):
        needed = power.seeds_needed(difference, [column])
        assert power.power(difference, [column], needed) >= power.GOAL
        assert needed == power.SEEDS or power.power(difference, [column], needed - 1) < power.GOAL
    found = [power.power(difference / 100, [column], 5) for difference in range(0, 12, 2)]
    assert all(low < high for low, high in pairwise(found)) and 0 < found[0] < comparison.LEVEL


def test_what_seeds_cannot_show_has_no_number():
    assert power.smallest_difference([fixed(872, 0, 0, 0.1)], 2) is None and power.power(1, [fixed(9, 0, 0, 1)], 2) == 0
    assert power.seeds_needed(0.001, [fixed(100, 0.1, 0, 0.1)]) is None  # the items differ, whatever the seed
    assert power.power(0.1, [fixed(9, 0, 0, 0)], 3) == 1 and power.power(0, [fixed(9, 0, 0, 0)], 3) == 0


def grid_of(results) -> dict:
    """Return the paper's config with these runs on RTE in the GLUE table."""
    config = paper_config()
    config["pathvars"] |= {"results": str(results)}
    glue = config["tasks"]["glue"]
    glue["grid"] = [{"runs": ["hra/r8", "lora/r8"], "datasets": ["rte", "cola"], "seeds": [0, 1, 2, 3]}]
    glue["columns"] = [column for column in glue["columns"] if column["name"] in ("RTE", "CoLA")]
    glue["averages"] = []
    return config


def printed(config: dict, capsys, effect: float, *noise: float) -> dict[str, list]:
    """Return the lines of the command by column: a dry run's plan has eight trainings of half an hour."""
    jobs = []
    for method, seed in product(("hra", "lora"), range(4)):
        run = {"task": "glue", "dataset": "rte", "method": method, "variant": "r8", "seed": str(seed)}
        hours = {"gpus": 1, "gpu_hours": 0.25 * (seed == 0), "cpu_hours": 0, "hours_left": 0.5 - 0.25 * (seed == 0)}
        tables = ["table_glue", "table_retention"], ["table_retention"]  # the second job is of another table
        jobs += [{"wildcards": run, "tables": one} | hours for one in tables]
    assert planned.run({"config": config, "jobs": jobs}, effect, *noise or (None, None)) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if cells}


def test_finished_runs_have_shown_the_noise(tmp_path, capsys):
    make(tmp_path)
    pairs = run_statistics.read_csv(tmp_path / "compare_glue.csv").set_index("column").loc["RTE"]
    config = grid_of(tmp_path)
    by_name = {one.name: one for one in planned.columns(config, tasks.load(config)["glue"])}
    (part,) = by_name["RTE"].parts
    assert part.items == 300 and by_name["RTE"].seeds == 4 and not by_name["CoLA"].parts
    (of_grid,) = pairs.loc[(pairs["selection"] == "best_on_dev") & (pairs["run_b"] == "lora/r8"), "noise_rest"]
    assert 1e4 * part.noise(0.0).rest == pytest.approx(float(of_grid))  # head/all is not in the grid
    rows = printed(config, capsys, 5.0)
    assert rows["CoLA"] == ["–", "4", "–", "–", "–", "–", "unknown"]
    assert rows["RTE"][:2] == ["300", "4"] and rows["RTE"][-1] == "finished runs"
    assert rows["RTE"][5] == f"{int(rows['RTE'][4])} GPU-hours"  # two runs of half an hour each per seed


def test_stated_noise_is_for_columns_of_answers(tmp_path, capsys):
    config = grid_of(tmp_path)
    rows = printed(config, capsys, 1.0, 70.0, 1.0)
    assert rows["RTE"][-1] == "the stated noise" and rows["RTE"][2].endswith(" points")
    assert rows["CoLA"][-1] == "unknown"  # a correlation
    config["tasks"]["glue"]["grid"][0]["seeds"] = [0, 1]
    assert printed(config, capsys, 1.0, 70.0, 1.0)["RTE"][2:4] == ["–", "–"]  # no p with fewer than three seeds


@pytest.mark.parametrize(("scale", "text"), [(100, "1 points"), (1, "1")])
def test_the_power_of_an_average_is_in_the_unit_of_its_columns(tmp_path, scale, text):
    _, job = make(tmp_path, seeds=4, levels={"hra/r8": 0.92, "lora/r8": 0.9})
    compare.main(job)
    config = grid_of(tmp_path)
    columns = [{"name": "RTE", "dataset": "rte", "benchmark": "validation", "metric": "accuracy", "scale": scale}]
    config["tasks"]["glue"] |= {"columns": columns, "averages": [{"name": "Mean", "columns": ["RTE"]}]}
    column, average = planned.columns(config, tasks.load(config)["glue"])
    assert column.smallest == average.smallest and average.unit.scale == scale and average.text(1) == text
