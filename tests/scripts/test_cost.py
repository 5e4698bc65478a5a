"""What runs cost beside what they score: means over the runs of a column, with the trials of tuning."""

import math

import pandas as pd
import pytest

import collect_runs
import cost
import factories
from hra_workflow.core import files
from hra_workflow.report import run_statistics

SECONDS = {("cola", 0): 3600, ("cola", 1): 1800, ("rte", 0): 900, ("rte", 1): 900}


def made(
    folder, runs=("hra/r8", "lora/r8"), tuning: str | None = None, price: dict | None = None, **changes
) -> tuple[pd.DataFrame, str]:
    """Collect two datasets with two seeds and write their costs; return the table as text and its Markdown."""
    folder.mkdir(exist_ok=True)
    expected = [factories.entry(folder, dataset, run, seed) for run in runs for dataset, seed in SECONDS]
    paths = []
    for run in expected:
        seconds = SECONDS[run["dataset"], run["seed"]]
        changed = {"seconds": seconds, "processes": 2, "device_seconds": 2 * seconds} | changes
        paths.append(factories.write(folder, run, factories.noisy_curve(run), **changed))
    collect_runs.main(factories.collect_job(folder, expected, paths))
    job = factories.cost_job(folder, expected)
    if tuning:
        files.write_text(folder / "tune_glue.csv", tuning)
        job["input"]["tuning"] = str(folder / "tune_glue.csv")
    job["params"] |= {"price": price} if price else {}
    cost.main(job)
    return run_statistics.read_csv(job["output"]["csv"]), (folder / "cost_glue.md").read_text()


def test_costs_are_means_over_the_runs_of_the_score(tmp_path):
    table, text = made(tmp_path)
    hra = table[table["run"] == "hra/r8"].set_index("column").drop(columns=["run", "selection"])
    hra = hra.apply(pd.to_numeric)  # empty: unknown
    assert hra["device_hours"].to_dict() == {"CoLA": 1.5, "RTE": 0.5, "All (acc)": 1, "All (acc/F1 mean)": 1}
    assert hra.loc["All (acc)", ["seconds", "adapter_parameters", "n_seeds"]].tolist() == [1800, 663552, 2]
    assert hra.loc["RTE", "adapter_bytes"] == 4 * 663552 + 1000 and hra.loc["RTE", "peak_memory_bytes"] == 2**30
    assert "Tuning" not in text and "| HRA r=8, λ=0" in text and "| 0.664 |" in " ".join(text.split())
    assert text.count("| Method ") == 2  # CoLA alone; the two averages, on the same datasets, together


def test_the_trials_of_tuning_are_added(tmp_path):
    trials = "dataset,method,variant,device_seconds\ncola,hra,r8,1800\ncola,hra,r8,1800\nrte,hra,r8,7200\nrte,hra,r8,\n"
    table, text = made(tmp_path, tuning=trials)
    hours = table[table["column"] == "All (acc)"].set_index("run")[["tuning_hours", "device_hours"]].astype(float)
    assert hours.loc["hra/r8"].tolist() == [1.5, 2.5] and hours.loc["lora/r8"].tolist() == [0, 1]
    assert "Tuning (device hours)" in text and "the trials of tuning" in text


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_run_without_a_score_adds_no_cost(tmp_path, evaluated):
    """Its evaluation or its value is missing, so that the score is that of the other seed."""
    expected = [factories.entry(tmp_path, "cola", "hra/r8", seed) for seed in (0, 1)]
    paths = [factories.write(tmp_path, run, [0.5], device_seconds=3600 * (1 + run["seed"])) for run in expected]
    paths[1] = paths[1] if evaluated else (paths[1][0], [])
    collect_runs.main(factories.collect_job(tmp_path, expected, paths, incomplete=True))
    params = factories.cost_job(tmp_path, expected)["params"]
    runs = run_statistics.read_runs(tmp_path / "runs_glue.csv")
    runs.loc[runs["seed"] == 1, "value"] = math.nan
    table = cost.build(runs, cost.tuning_hours(None), params)
    assert table.set_index("column").loc["CoLA", ["n_seeds", "device_hours"]].tolist() == ["1", 1]


def test_the_price_of_trainings_and_trials(tmp_path):
    """A trial that did not train costs nothing."""
    trials = "dataset,method,variant,device_seconds\ncola,hra,r8,1800\ncola,hra,r8,\n"
    table, text = made(tmp_path, tuning=trials, price={"gpu_hour": 2.0, "currency": "EUR"})
    assert table[table["column"] == "CoLA"].set_index("run")["price"].to_dict() == {"hra/r8": "4", "lora/r8": "3"}
    assert "Price (EUR) ↓" in text and "Price: 2 EUR per GPU-hour." in text


def test_a_cpu_has_no_price(tmp_path):
    table, text = made(tmp_path, price={"gpu_hour": 2.0, "currency": "EUR"}, device="CPU: AMD EPYC")
    assert set(table["price"]) == {""} and "Price" not in text


@pytest.mark.parametrize(("finished", "rows"), [(["hra/r8", "lora/r8"], {"lora/r8"}), (["hra/r8"], set())])
def test_only_trained_runs_with_a_score_have_a_row(tmp_path, finished, rows):
    expected = [factories.entry(tmp_path, "cola", run, 0) for run in ("hra/r8", "lora/r8")]
    done = [run for run in expected if f"{run['method']}/{run['variant']}" in finished]
    paths = [factories.write(tmp_path, run, [0.5]) for run in done]
    collect_runs.main(factories.collect_job(tmp_path, expected, paths, incomplete=True))
    params = factories.cost_job(tmp_path, expected)["params"] | {"trained": ["lora/r8"]}
    table = cost.build(run_statistics.read_runs(tmp_path / "runs_glue.csv"), cost.tuning_hours(None), params)
    assert set(table["run"]) == rows
    assert ("No trained run has a score yet" in cost.markdown(table, params)) == (not rows)
