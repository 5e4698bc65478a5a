"""Power: its formula against simulated studies, the noise of finished runs, and what `hra-workflow power` prints."""

from itertools import pairwise, product

import numpy as np
import pytest

import compare
from benchmarks import coverage
from hra_results import power as planned
from hra_results import power_formulas as power
from hra_workflow import tasks
from hra_workflow.commands.main import WRONG, main
from hra_workflow.report import comparison, run_statistics
from support import paper_config
from test_compared_tables import make


def fixed(items: int, *noise: float) -> power.Column:
    return power.Column(items, lambda _: comparison.Noise(*noise))


@pytest.mark.parametrize(
    ("items", "points", "seeds", "difference"),
    [(872, 0.5, 5, 2), (300, 4, 3, 10)],
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


# The command


def grid_of(results) -> dict:
    """Return the paper's config with these runs on RTE in the GLUE table."""
    config = paper_config()
    config["pathvars"] |= {"results": str(results)}
    glue = config["tasks"]["glue"]
    glue["grid"] = [{"runs": ["hra/r8", "lora/r8"], "datasets": ["rte", "cola"], "seeds": [0, 1, 2, 3]}]
    glue["columns"] = [column for column in glue["columns"] if column["name"] in ("RTE", "CoLA")]
    glue["averages"] = []
    return config


def printed(config: dict, capsys, *options: str, tables=("table_glue", "table_retention")) -> dict[str, list]:
    """Return the lines of the command by column: a dry run's plan has eight trainings of half an hour."""
    jobs = []
    for method, seed in product(("hra", "lora"), range(4)):
        run = {"task": "glue", "dataset": "rte", "method": method, "variant": "r8", "seed": str(seed)}
        hours = {"gpus": 1, "gpu_hours": 0.25 * (seed == 0), "cpu_hours": 0, "hours_left": 0.5 - 0.25 * (seed == 0)}
        jobs.append({"wildcards": run, "tables": tables} | hours)
        jobs.append({"wildcards": run, "tables": ["table_retention"]} | hours)  # of another table
    stated = dict(zip(options[::2], map(float, options[1::2]), strict=True))
    noise = stated.get("--score"), stated.get("--deviation")
    assert planned.run({"config": config, "jobs": jobs}, stated.get("--effect", 1.0), *noise) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if cells}


def test_finished_runs_have_shown_the_noise(tmp_path, capsys):
    make(tmp_path)
    pairs = run_statistics.read_csv(tmp_path / "compare_glue.csv").set_index("column").loc["RTE"]
    first = pairs[pairs["selection"] == "best_on_dev"].iloc[0]
    names = list(comparison.NOISE)
    assert all(float(first[name]) >= 0 for name in names) and list(pairs.columns)[-3:] == names
    config = grid_of(tmp_path)
    by_name = {one.name: one for one in planned.columns(config, tasks.load(config)["glue"])}
    (part,), noise = by_name["RTE"].parts, by_name["RTE"].parts[0].noise(0.0)
    assert part.items == 300 and by_name["RTE"].seeds == 4 and not by_name["CoLA"].parts
    (of_grid,) = pairs.loc[(pairs["selection"] == "best_on_dev") & (pairs["run_b"] == "lora/r8"), "noise_rest"]
    assert 1e4 * noise.rest == pytest.approx(float(of_grid))  # head/all is not in the grid, nor a variant of the config
    rows = printed(config, capsys, "--effect", "5")
    assert rows["CoLA"] == ["–", "4", "–", "–", "–", "–", "unknown"]
    assert rows["RTE"][:2] == ["300", "4"] and rows["RTE"][-1] == "finished runs"
    assert rows["RTE"][5] == f"{int(rows['RTE'][4])} GPU-hours"  # two runs of half an hour each per seed


def test_stated_noise_is_for_columns_of_answers(tmp_path, capsys):
    config, stated = grid_of(tmp_path), ("--score", "70", "--deviation", "1")
    rows = printed(config, capsys, *stated)
    assert rows["RTE"][-1] == "the stated noise" and rows["RTE"][2].endswith(" points")
    assert rows["CoLA"][-1] == "unknown"  # a correlation
    assert printed(config, capsys)["RTE"][-1] == "unknown"
    config["tasks"]["glue"]["grid"][0]["seeds"] = [0, 1]
    assert printed(config, capsys, *stated)["RTE"][2:4] == ["–", "–"]  # no p with fewer than three seeds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--score 100 --deviation 1", "--score: expected a number between 0 and 100, found 100"),
        ("--score 85", "--score, --deviation: expected both or neither, found one. Add the other"),
    ],
)
def test_wrong_values_are_errors(options, message, capsys):
    assert main(["power", *options.split()]) == WRONG
    assert message in capsys.readouterr().err


def test_the_power_of_an_average_is_in_the_unit_of_its_columns(tmp_path):
    _, job = make(tmp_path, seeds=4, levels={"hra/r8": 0.92, "lora/r8": 0.9})
    compare.main(job)
    found = []
    for scale in (100, 1):
        config = paper_config()
        config["pathvars"] |= {"results": str(tmp_path)}
        grid = [{"runs": ["hra/r8", "lora/r8"], "datasets": ["rte"], "seeds": [0, 1, 2, 3]}]
        columns = [{"name": "RTE", "dataset": "rte", "benchmark": "validation", "metric": "accuracy", "scale": scale}]
        averages = [{"name": "Mean", "columns": ["RTE"]}]
        config["tasks"]["glue"] |= {"grid": grid, "columns": columns, "averages": averages}
        column, average = planned.columns(config, tasks.load(config)["glue"])
        assert column.smallest == average.smallest and average.unit.scale == scale
        found.append(average.text(1))
    assert found == ["1 points", "1"]
