"""Means, deviations and averages of a table."""

import statistics

import pandas as pd

import factories
from glue_tables import by_seed, collect, grid, line, make_table
from hra_workflow.report import column_units, run_statistics


def scored(runs: pd.DataFrame, columns: list[dict], **params) -> pd.DataFrame:
    return run_statistics.scores(runs, column_units.parts({"columns": columns} | params))


def test_mean_std_and_n_against_hand_values(tmp_path):
    expected = grid(tmp_path)
    collect(tmp_path, expected, scores=by_seed([0.70, 0.72, 0.77]))
    made = make_table(tmp_path, expected)
    best, last = line(made, "hra/r8"), line(made, "hra/r8", "last")
    assert (best["CoLA"], best["CoLA_std"], best["CoLA_n"]) == ("73.00", "3.61", "3")
    assert (best["CoLA_published"], best["CoLA_difference"]) == ("73.70", "-0.70")
    assert (last["CoLA"], last["CoLA_published"], last["CoLA_difference"]) == ("68.00", "", "")
    names = ("n_seeds", "params_M", "params_M_published", "preset")
    assert [best[name] for name in names] == ["3", "0.664", "0.66", "paper"]


def test_differences_only_on_the_same_scale(tmp_path):
    expected = grid(tmp_path, datasets=tuple(factories.METRICS), runs=("hra/r8", "full/all"), seeds=(0,))
    collect(tmp_path, expected)
    made = make_table(tmp_path, expected)
    for run, other, same in [("hra/r8", "acc", "acc/F1 mean"), ("full/all", "acc/F1 mean", "acc")]:
        row = line(made, run)
        for name in ("MRPC", "QQP", "All"):
            assert row[f"{name} ({other})"] and not row[f"{name} ({other})_published"]
            assert not row[f"{name} ({other})_difference"]
            assert row[f"{name} ({same})_published"] and row[f"{name} ({same})_difference"]
    assert line(made, "hra/r8")["All (acc/F1 mean)_published"] == "90.10"
    assert line(made, "full/all")["All (acc)_published"] == "88.25"


def test_average_over_incomplete_seeds(tmp_path):
    expected = grid(tmp_path, datasets=("cola", "rte"))
    values = {"cola": [0.5, 0.6, 0.7], "rte": [0.8, 0.9, None]}
    made = [run for run in expected if (run["dataset"], run["seed"]) != ("rte", 2)]
    collect(tmp_path, expected, made, scores=lambda run: [values[run["dataset"]][run["seed"]]], incomplete=True)
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert row["All (acc)"] == f"{(60 + 85) / 2:.2f}"  # the mean of the columns' means
    assert row["All (acc)_n"] == "2"
    assert row["All (acc)_std"] == f"{statistics.stdev([65, 75]):.2f}"  # the two complete seeds
    assert row["missing"] == "rte: seed 2 (missing)"
    text = (tmp_path / "table_glue.md").read_text()
    assert "72.50 ± 7.07 (2/3)" in text and "0 failed and 1 missing" in text


def test_a_published_value_is_compared_once():
    """The paper's MNLI is the matched one, which comes first."""
    published = pd.DataFrame([["HRA", "MNLI", "accuracy", "89.8"]], columns=["row", "column", "metric", "value"])
    columns = [{"name": f"MNLI ({kind})", "metric": "accuracy"} for kind in ("matched", "mismatched")]
    assert run_statistics.counterparts(published, columns, {}) == {("HRA", "MNLI (matched)"): 89.8}


def test_a_column_has_its_own_scale():
    rows = [{"dataset": name, "run": "m/v", "seed": 0, "value": 0.5, "status": "ok"} for name in "ab"]
    runs = pd.DataFrame(rows).assign(selection="last", benchmark="dev", metric="accuracy")
    columns = [{"name": name, "dataset": name, "benchmark": "dev", "metric": "accuracy"} for name in "ab"]
    columns[1] |= {"scale": 1}
    assert scored(runs, columns).set_index("column")["score"].to_dict() == {"a": 50, "b": 0.5}


def test_costs_count_each_training_once_and_no_run_that_is_not_trained():
    rows = [
        {
            "run": run,
            "seed": seed,
            "seconds": seconds,
            "value": 1,
            "trainable_parameters": run == "m/v",
            "metric": metric,
        }
        for run, seed, seconds in [("m/v", 0, 10), ("m/v", 1, 30), ("base/v", 0, 99)]
        for metric in ("accuracy", "f1")
    ]
    runs = pd.DataFrame(rows).assign(selection="last", dataset="a", benchmark="test", status="ok")
    columns = [{"name": "seconds", "dataset": "a", "benchmark": "training", "metric": "seconds"}]
    result = run_statistics.summary(scored(runs, columns, scale=1))
    assert result.loc[("m/v", "last", "seconds")].tolist()[::2] == [20, 2] and len(result) == 1
