"""The run table and the paper's table, on synthetic records."""

import csv
import json
import re
import shutil
import statistics
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import collect_runs
import cost
import factories
import figures
import table
from hra_workflow.core import files, records
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_statistics, table_notes

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "config" / "published" / "glue.csv"
PAPER = REPOSITORY.parent / "shared" / "paper" / "tables"
needs_paper = pytest.mark.skipif(not PAPER.exists(), reason=f"{PAPER} is not on this machine")


def grid(folder, datasets=("cola",), runs=("hra/r8",), seeds=(0, 1, 2)) -> list[dict]:
    return [factories.entry(folder, *key) for key in [(d, r, s) for r in runs for d in datasets for s in seeds]]


def collect(folder, expected, made=None, scores=factories.noisy_curve, **options) -> pd.DataFrame:
    """Write the files of the runs in `made` (all by default) and collect them."""
    paths = [factories.write(folder, run, scores(run)) for run in (expected if made is None else made)]
    collect_runs.main(factories.collect_job(folder, expected, paths, **options))
    return run_statistics.read_csv(folder / "runs_glue.csv")


def make_table(folder, expected, published=PUBLISHED) -> pd.DataFrame:
    table.main(factories.table_job(folder, expected, published))
    return run_statistics.read_csv(folder / "table_glue.csv")


def line(made: pd.DataFrame, run: str, selection: str = "best_on_dev") -> pd.Series:
    (row,) = [row for _, row in made.iterrows() if (row["run"], row["selection"]) == (run, selection)]
    return row


def by_seed(values: list[float]):
    return lambda run: [0.1, values[run["seed"]], values[run["seed"]] - 0.05]


# The run table


def test_one_row_per_run_benchmark_selection_and_metric_in_config_order(tmp_path):
    expected = grid(tmp_path, datasets=("sst2", "mrpc", "mnli"), runs=("hra/r8", "full/all"), seeds=(4, 1))
    runs = collect(tmp_path, expected)
    assert list(runs.columns) == collect_runs.COLUMNS
    keys = runs[["method", "dataset", "seed"]].drop_duplicates().to_records(index=False).tolist()
    assert keys == [(m, d, s) for m in ("hra", "full") for d in ("sst2", "mrpc", "mnli") for s in ("4", "1")]
    assert len(runs) == 2 * 2 * (2 + 2 * 3 + 2 * 2)
    assert runs["benchmark"].unique().tolist() == ["dev", "matched", "mismatched"]
    first = runs.iloc[0]
    assert (first["status"], first["error"], first["versions"]) == ("ok", "", "peft=0.18.0;torch=2.9.0")
    assert (first["seconds"], first["dirty"], first["step"], first["steps"]) == ("123.457", "false", "200", "1200")
    assert first["micro_batch"] == "16"  # of a batch of 32 in two steps


def test_rows_do_not_depend_on_the_order_of_the_files(tmp_path):
    expected = grid(tmp_path)
    collect(tmp_path, expected)
    before = (tmp_path / "runs_glue.csv").read_bytes()
    collect(tmp_path, expected, made=expected[::-1])
    assert (tmp_path / "runs_glue.csv").read_bytes() == before


def test_a_failed_run_is_a_row_with_its_error(tmp_path):
    expected = grid(tmp_path)
    error = Path(expected[1]["errors"][1])
    error.parent.mkdir(parents=True)
    error.write_text(json.dumps({"status": "failed", "rule": "train", "error": "OutOfMemoryError: no\n memory"}))
    runs = collect(tmp_path, expected, made=expected[:1], incomplete=True)
    assert runs["status"].tolist() == ["ok", "ok", "failed", "missing"]
    assert runs["error"].tolist() == ["", "", "OutOfMemoryError: no memory", ""]
    assert runs["seed"].tolist() == ["0", "0", "1", "2"]


def test_an_evaluation_that_failed_keeps_the_provenance_of_its_training(tmp_path):
    (run,) = grid(tmp_path, seeds=(0,))
    record, _ = factories.write(tmp_path, run, [0.5])
    error = Path(run["benchmarks"]["dev"][0])
    error.parent.mkdir(parents=True)
    error.write_text("cut off")
    collect_runs.main(factories.collect_job(tmp_path, [run], [(record, [])], incomplete=True))
    row = run_statistics.read_csv(tmp_path / "runs_glue.csv").iloc[0]
    assert (row["benchmark"], row["status"], row["steps"], row["value"]) == ("dev", "failed", "100", "")
    assert "unreadable error file" in row["error"]


def test_holes_stop_the_job_unless_the_config_allows_them(tmp_path):
    expected = grid(tmp_path)
    with pytest.raises(JobError, match=r"2 result\(s\).*cola/hra/r8/seed1 \(missing\).*--config incomplete=True"):
        collect(tmp_path, expected, made=expected[:1])
    assert not (tmp_path / "runs_glue.csv").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed: -1 is less than the minimum"),
        ({"mood": "good"}, "'mood' was unexpected"),
        ({"model": {"name": "x", "revision": None}}, "model: 'sha256' is a required property"),
    ],
)
def test_a_record_against_the_schema_is_refused_by_name(tmp_path, change, message):
    (run,) = grid(tmp_path, seeds=(0,))
    paths = [factories.write(tmp_path, run, [0.5], **change)]
    with pytest.raises(JobError, match=rf"seed0/train\.json.*{message}"):
        collect_runs.main(factories.collect_job(tmp_path, [run], paths))


def test_half_a_file_is_refused_by_name(tmp_path):
    (run,) = grid(tmp_path, seeds=(0,))
    record, evaluations = factories.write(tmp_path, run, [0.5])
    Path(evaluations[0]).write_text('{"task": "glue", ')
    with pytest.raises(JobError, match=r"metrics\.json: expected valid JSON"):
        collect_runs.main(factories.collect_job(tmp_path, [run], [(record, evaluations)]))


@pytest.mark.parametrize("name", ["train.json", "dev/metrics.json"])
def test_one_edited_digit_is_refused_by_name(tmp_path, name):
    (run,) = grid(tmp_path, seeds=(0,))
    paths = [factories.write(tmp_path, run, [0.5])]
    edited = Path(paths[0][0]).parent / name
    assert edited.read_text().count("0.5") and "0.5" in edited.read_text()
    edited.write_text(edited.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(JobError, match=rf"seed0/{name}: expected the content .* edited or damaged\. Delete it and run"):
        collect_runs.main(factories.collect_job(tmp_path, [run], paths))


ASKED = {"hyperparameters": factories.SETTINGS | {"learning_rate": 5e-3}}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (ASKED, "learning_rate 0.001, now 0.005"),
        ({"hyperparameters": factories.SETTINGS | {"eval_batch_size": 7}}, None),  # neutral
        ({"hyperparameters": factories.SETTINGS | {"warmup_steps": 7}}, "warmup_steps null, now 7"),
        ({"method": {"version": 2}}, "method.version 1, now 2"),
        ({"task_version": 2}, "task_version 1, now 2"),
        ({"seed": 1}, "seed 0, now 1"),
        ("c", "inputs.dataset bbbbbbbbbbbb…, now cccccccccccc…"),
        ("b", None),
    ],
)
def test_a_record_of_another_run_than_the_config_asks_for_is_refused(tmp_path, asked, message):
    (run,) = grid(tmp_path, seeds=(0,))
    paths = [factories.write(tmp_path, run, [0.5])]
    if isinstance(asked, str):
        files.write_json(run["inputs"]["dataset"], {"sha256": 64 * asked})
    else:
        run["asked"] = run["asked"] | asked
    job = factories.collect_job(tmp_path, [run], paths)
    if not message:
        collect_runs.main(job)
        return
    expected = re.escape(f"cola/hra/r8/seed0 (outdated: {message}; delete {paths[0][0]})")
    with pytest.raises(JobError, match=rf"1 result.* of glue are not those that the config asks for: {expected}"):
        collect_runs.main(job)


def test_an_incomplete_table_has_no_mean_over_two_rates(tmp_path):
    expected = grid(tmp_path, seeds=(0, 1))
    paths = [factories.write(tmp_path, run, [0.5]) for run in expected]
    expected[1]["asked"] = expected[1]["asked"] | ASKED
    collect_runs.main(factories.collect_job(tmp_path, expected, paths, incomplete=True))
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert row["CoLA_n"] == "1" and "cola: seed 1 (outdated: learning_rate 0.001, now 0.005; delete" in row["missing"]
    assert "0 failed, 0 missing and 1 outdated result(s)" in (tmp_path / "table_glue.md").read_text()


def test_metrics_of_another_record_are_refused(tmp_path):
    (run,) = grid(tmp_path, seeds=(0,))
    _, evaluations = factories.write(tmp_path, run, [0.5])
    old = Path(evaluations[0]).read_text()
    record, _ = factories.write(tmp_path, run, [0.6])
    Path(evaluations[0]).write_text(old)
    with pytest.raises(JobError, match=r"outdated: train.json \w{12}…, now \w{12}…; delete .*/dev/metrics.json"):
        collect_runs.main(factories.collect_job(tmp_path, [run], [(record, evaluations)]))


def test_a_rate_that_the_trials_have_not_chosen_is_refused(tmp_path):
    (run,) = grid(tmp_path, seeds=(0,))
    paths = [factories.write(tmp_path, run, [0.5])]
    run["asked"]["hyperparameters"] = {k: v for k, v in factories.SETTINGS.items() if k != "learning_rate"}
    job = factories.collect_job(tmp_path, [run], paths)
    job["input"]["tuning"] = str(tmp_path / "tune_glue.csv")
    for chosen, ok in (("1.0e-3", True), ("0.002", False)):
        rows = [f"cola,hra,r8,{rate},{str(rate == chosen).lower()}" for rate in (chosen, "0.1")]
        (tmp_path / "tune_glue.csv").write_text("\n".join(["dataset,method,variant,learning_rate,chosen", *rows]))
        with nullcontext() if ok else pytest.raises(JobError, match=r"learning_rate 0\.001, now 0\.002"):
            collect_runs.main(job)


def test_a_diverged_run_is_a_row_in_no_mean_and_stops_nothing(tmp_path):
    expected = grid(tmp_path, runs=("hra/r8", "lora/r8"), seeds=(0, 1))
    paths = [factories.write(tmp_path, run, [0.5]) for run in expected]
    records.write(paths[1][0], factories.diverged(expected[1]))
    results = {"status": "diverged", "error": "", "seconds": 0.0, "device": ""}
    records.write(paths[1][1][0], results)
    collect_runs.main(factories.collect_job(tmp_path, expected, paths))
    runs = run_statistics.read_csv(tmp_path / "runs_glue.csv")
    (row,) = [row for _, row in runs.iterrows() if (row["method"], row["seed"]) == ("hra", "1")]
    assert (row["status"], row["error"], row["value"]) == ("diverged", "the training loss is nan at step 7", "")
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert (row["CoLA"], row["CoLA_n"], row["CoLA_std"]) == ("50.00", "1", "")
    text = (tmp_path / "table_glue.md").read_text()
    assert "50.00 (1/2)" in text and "0 failed, 0 missing and 1 diverged result(s)" in text
    assert "`cola: seed 1 (diverged: the training loss is nan at step 7)`" in text
    cost.main(factories.cost_job(tmp_path, expected))  # whose means are over the same runs
    figures.main(factories.figures_job(tmp_path, expected, [path for path, _ in paths]))


def test_double_and_foreign_runs_are_refused(tmp_path):
    expected = grid(tmp_path, seeds=(0, 1))
    paths = [factories.write(tmp_path, run, [0.5]) for run in expected]
    with pytest.raises(JobError, match="cola/hra/r8/seed0 has two files"):
        collect_runs.main(factories.collect_job(tmp_path, expected, [*paths, paths[0]]))
    with pytest.raises(JobError, match="cola/hra/r8/seed1 is not in the grid"):
        collect_runs.main(factories.collect_job(tmp_path, expected[:1], paths))
    with pytest.raises(JobError, match="lists cola/hra/r8/seed0 twice"):
        collect_runs.main(factories.collect_job(tmp_path, [*expected, expected[0]], paths))


# Means, deviations, averages


def test_mean_std_and_n_against_hand_values(tmp_path):
    expected = grid(tmp_path)
    collect(tmp_path, expected, scores=by_seed([0.70, 0.72, 0.77]))
    made = make_table(tmp_path, expected)
    best, last = line(made, "hra/r8"), line(made, "hra/r8", "last")
    assert (best["CoLA"], best["CoLA_std"], best["CoLA_n"]) == ("73.00", "3.61", "3")
    assert (best["CoLA_published"], best["CoLA_difference"]) == ("73.70", "-0.70")
    assert (last["CoLA"], last["CoLA_published"], last["CoLA_difference"]) == ("68.00", "", "")
    assert (best["n_seeds"], best["params_M"], best["params_M_published"], best["preset"]) == (
        "3", "0.664", "0.66", "paper",
    )  # fmt: skip


def test_one_seed_has_no_deviation(tmp_path):
    expected = grid(tmp_path, seeds=(0,))
    collect(tmp_path, expected, scores=by_seed([0.7]))
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert (row["CoLA"], row["CoLA_std"], row["CoLA_n"]) == ("70.00", "", "1")


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


def test_the_average_of_a_part_of_the_columns_has_no_counterpart(tmp_path):
    expected = grid(tmp_path, datasets=("cola", "rte"), seeds=(0,))
    collect(tmp_path, expected)
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert row["All (acc)"] and not row["All (acc)_published"] and row["RTE_published"] == "88.45"


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


def test_a_column_without_any_value_is_a_hole_and_so_is_the_average(tmp_path):
    expected = grid(tmp_path, datasets=("cola", "rte"), seeds=(0,))
    collect(tmp_path, expected, made=expected[:1], incomplete=True)
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert (row["RTE"], row["RTE_n"], row["RTE_difference"], row["All (acc)"]) == ("", "0", "", "")
    (ours,) = [text for text in (tmp_path / "table_glue.md").read_text().splitlines() if "| ours" in text][:1]
    assert ours.count("–") == 3  # RTE and the two averages


def test_nothing_there_at_all(tmp_path):
    expected = grid(tmp_path)
    collect(tmp_path, expected, made=[], incomplete=True)
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert (row["CoLA"], row["n_seeds"], row["params_M"], row["CoLA_published"]) == ("", "0", "", "73.70")


@given(st.lists(st.lists(st.none() | st.floats(-1, 1), min_size=2, max_size=2), min_size=1, max_size=6))
def test_summary_is_what_numpy_says(values):
    """Test any pattern of missing values: mean and std per column, the average only if every column has a value."""
    columns = [{"name": name, "dataset": name, "benchmark": "dev", "metric": "accuracy"} for name in "ab"]
    rows = [
        {"run": "m/v", "dataset": name, "seed": seed, "value": value, "status": "ok" if value is not None else "failed"}
        for seed, pair in enumerate(values)
        for name, value in zip("ab", pair, strict=True)
    ]
    runs = pd.DataFrame(rows).assign(selection="last", benchmark="dev", metric="accuracy")
    runs["value"] = pd.to_numeric(runs["value"])
    averages = {"all": ["a", "b"]}
    result = run_statistics.summary(run_statistics.scores(runs, columns, averages), averages)
    kept = [[100 * pair[index] for pair in values if pair[index] is not None] for index in (0, 1)]
    for name, column in zip("ab", kept, strict=True):
        if column:
            row = result.loc[("m/v", "last", name)]
            assert row["n"] == len(column) and np.isclose(row["mean"], np.mean(column))
            assert np.isclose(row["std"], np.std(column, ddof=1), atol=1e-9) if len(column) > 1 else pd.isna(row["std"])
    assert (("m/v", "last", "all") in result.index) == all(kept)
    if all(kept):
        row = result.loc[("m/v", "last", "all")]
        assert np.isclose(row["mean"], np.mean([np.mean(column) for column in kept]), atol=1e-9)
        complete = [50 * (a + b) for a, b in values if a is not None and b is not None]
        assert row["n"] == min(map(len, kept))
        assert np.isclose(row["std"], np.std(complete, ddof=1), atol=1e-9) if len(complete) > 1 else pd.isna(row["std"])


# The paper's table


def test_order_is_the_papers_then_our_own_beside_their_method(tmp_path):
    runs = ("head/all", "hra/r8-lambda1e-6", "hra/r8-inf", "hra/r8", "full/all")
    expected = grid(tmp_path, runs=runs, seeds=(0,))
    collect(tmp_path, expected)
    made = make_table(tmp_path, expected)
    best = made[made["selection"] == "best_on_dev"]
    assert best["method"].tolist() == [
        "Full Fine-tune", "BitFit", "H-Adapter", "P-Adapter", "LoRA", "AdaLoRA", "OFT", "BOFT", *["HRA"] * 4, "Head",
    ]  # fmt: skip
    ours = best.loc[best["run"] != "", "run"].tolist()
    assert ours == ["full/all", "hra/r8", "hra/r8-inf", "hra/r8-lambda1e-6", "head/all"]
    assert made.loc[made["run"] == "", "selection"].eq("best_on_dev").all()


@pytest.mark.parametrize(
    ("run", "label", "named"),
    [
        ("lora/r8", "LoRA, r=8", ("LoRA", "r=8")),
        ("head/linear", "Classifier alone", ("Classifier alone", "")),
        ("full/all", "Full fine-tuning", ("Full", "fine-tuning")),
    ],
)
def test_names_of_our_own_rows(run, label, named):
    (line,) = table.layout([{"run": run, "label": label}], pd.DataFrame(columns=run_statistics.PUBLISHED))
    assert (line["method"], line["setting"]) == named


def test_what_the_grid_does_not_have_is_empty_and_not_a_hole(tmp_path):
    """Test a sweep over λ that runs on one dataset only."""
    expected = [
        *grid(tmp_path, datasets=("mrpc", "cola"), seeds=(0,)),
        *grid(tmp_path, datasets=("mrpc",), runs=("hra/r8-lambda1e-6",), seeds=(0, 1)),
    ]
    collect(tmp_path, expected, made=expected[:1] + expected[2:], incomplete=True)
    made = make_table(tmp_path, expected)
    assert (line(made, "hra/r8")["CoLA_n"], line(made, "hra/r8-lambda1e-6")["CoLA_n"]) == ("0", "")
    assert line(made, "hra/r8-lambda1e-6")["missing"] == ""
    rows = (tmp_path / "table_glue.md").read_text().splitlines()
    assert next(text for text in rows if "HRA r=8, λ=1e-6 " in text).count("–") == 0
    assert next(text for text in rows if "HRA r=8, λ=0 " in text).count("–") == 3


def test_a_metric_without_a_value_is_named_and_no_hole(tmp_path):
    expected = grid(tmp_path, datasets=("mrpc",), runs=("hra/r8", "lora/r8"), seeds=(0,))
    collect(tmp_path, expected)
    runs = run_statistics.read_csv(tmp_path / "runs_glue.csv")
    unscored = (runs["method"] == "hra") & (runs["metric"] == "accuracy")  # as if no image had been scored
    runs[~unscored].to_csv(tmp_path / "runs_glue.csv", index=False)
    row = line(make_table(tmp_path, expected, published=None), "hra/r8")
    assert row["MRPC (acc)"] == row["MRPC (acc)_n"] == row["All (acc)_n"] == "" and row["MRPC (acc/F1 mean)_n"] == "1"
    text = (tmp_path / "table_glue.md").read_text()
    assert "no face was found): HRA r=8, λ=0: MRPC (acc), All (acc).\n" in text
    assert "LoRA r=8: MRPC" not in text and "without the classifier" in text


def test_seeds_with_the_same_fate_are_named_together(tmp_path):
    expected = grid(tmp_path, datasets=("cola", "rte"))
    collect(tmp_path, expected, made=expected[:1], incomplete=True)
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert row["missing"] == "cola: seeds 1, 2 (missing); rte: seeds 0, 1, 2 (missing)"


def test_without_published_values(tmp_path):
    expected = grid(tmp_path, datasets=("cola", "mrpc"), runs=("head/all", "lora/r8"), seeds=(0, 1))
    collect(tmp_path, expected)
    made = make_table(tmp_path, expected, published=None)
    assert made["run"].tolist() == ["head/all", "head/all", "lora/r8", "lora/r8"]
    assert made["method"].tolist() == ["Head", "Head", "LoRA", "LoRA"]
    assert made.filter(like="_published").eq("").all(axis=None)
    text = (tmp_path / "table_glue.md").read_text()
    assert "No published counterpart" in text and "λ conflict" not in text


def test_two_runs_give_the_same_bytes(tmp_path):
    expected = grid(tmp_path, datasets=tuple(factories.METRICS), runs=tuple(factories.LABELS), seeds=(0, 1))
    outputs = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        collect(folder, expected)
        make_table(folder, expected)
        outputs.append([(folder / name).read_bytes() for name in ("runs_glue.csv", "table_glue.csv", "table_glue.md")])
    assert outputs[0] == outputs[1]


def test_fixed_digits(tmp_path):
    expected = grid(tmp_path, datasets=tuple(factories.METRICS), runs=("hra/r8", "full/all"), seeds=(0, 1))
    collect(tmp_path, expected)
    made = make_table(tmp_path, expected)
    names = [name for name in made.columns if name.endswith(("_std", "_published", "_difference"))]
    numbers = made[[name for name in names if name != "params_M_published"]].stack()
    assert numbers[numbers != ""].str.fullmatch(r"-?\d+\.\d\d").all()


def test_markdown_says_what_a_reader_has_to_know(tmp_path):
    expected = grid(tmp_path, datasets=("cola", "mrpc"))
    collect(tmp_path, expected, scores=by_seed([0.70, 0.72, 0.77]))
    make_table(tmp_path, expected)
    text = (tmp_path / "table_glue.md").read_text()
    for part in [
        "## Best on dev", "## Last step", "73.00 ± 3.61", "73.70 (−0.70)", "n = 3", "copied every row except HRA's",
        "labels of λ conflict", "mean of accuracy and F1", "HRA r=8, λ=0: paper", "0 failed and 0 missing",
    ]:  # fmt: skip
        assert part in text, part
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
            assert len({len(line) for line in block.splitlines()}) == 1  # aligned: readable as it is


def test_strict_on_data_that_never_teaches_the_mark_is_noted(tmp_path):
    expected = grid(tmp_path, seeds=(0,))
    paths = [factories.write(tmp_path, run, [0.5]) for run in expected]
    collect_runs.main(factories.collect_job(tmp_path, expected, paths))
    job = factories.table_job(tmp_path, expected)
    for names in ([], ["mine"]):
        job["params"]["never_marked"] = names
        table.main(job)
        text = (tmp_path / "table_glue.md").read_text()
        assert ("**`strict` stays near 0** for runs on mine" in text) == bool(names)


def test_labels_with_signs_of_markup_are_shown_as_they_are(tmp_path):
    """Read back by a parser of Markdown; the CSV holds the texts themselves."""
    from markdown_it import MarkdownIt

    label, column, average = "=1+1|a $x$ <i>*b*</i> _c_ `d`", "CoLA | $x$ <b>", "[All](x) ~~&lt;~~"
    expected = grid(tmp_path, runs=("hra/r8", "lora/r8"), seeds=(0,))
    collect(tmp_path, expected, made=expected[:1], incomplete=True)
    job = factories.table_job(tmp_path, expected)
    job["params"]["columns"] = [job["params"]["columns"][0] | {"name": column}]
    job["params"] |= {"averages": {average: [column]}, "rows": [{"run": "hra/r8", "label": label}]}
    job["params"]["rows"].append({"run": "lora/r8", "label": label + "2"})
    table.main(job)
    made = run_statistics.read_csv(tmp_path / "table_glue.csv")
    assert {column, average} <= set(made.columns) and label in made["method"].tolist()

    def shown(tokens) -> str:
        return "".join(token.content for token in tokens if token.type in ("text", "text_special", "code_inline"))

    parsed = MarkdownIt("commonmark").enable("table").parse((tmp_path / "table_glue.md").read_text())
    texts = [token.children for token in parsed if token.type == "inline"]
    assert all(token.type != "html_inline" for children in texts for token in children)
    cells = [shown(children) for children in texts]
    assert [label, "ours"] == cells[(start := cells.index(label)) : start + 2]
    assert cells[start - 2 : start] == [column, average]
    assert any(cell.startswith(f"Missing results for {label}2: ") for cell in cells)
    assert any(f"presets: {label}: " in cell for cell in cells)
    assert "\\$x\\$" in (tmp_path / "table_glue.md").read_text()  # GitHub takes $x$ for mathematics


def test_unlike_and_dirty_runs_are_noted(tmp_path):
    expected = grid(tmp_path, seeds=(0, 1))
    changes = {0: {}, 1: {"versions": {"torch": "2.13.0+cpu", "peft": "0.18.1"}, "dirty": True}}
    paths = [factories.write(tmp_path, run, [0.5], **changes[run["seed"]]) for run in expected]
    collect_runs.main(factories.collect_job(tmp_path, expected, paths))
    make_table(tmp_path, expected)
    text = (tmp_path / "table_glue.md").read_text()
    assert "**Mixed versions** within one row, so that its means combine them: hra/r8 (torch 2.13, 2.9)." in text
    assert "1 run(s) had uncommitted" in text


def test_the_backends_of_answers_are_stated_and_several_are_marked():
    names = ["run", "backend", "serve"]
    rows = [
        ("base/pretrained", "vllm 0.33.0", ""),
        ("hra/r8", "vllm 0.33.0", "lora"),
        ("oft/b16", "vllm 0.33.0", "merged"),
    ]
    (text,) = table_notes.answered(pd.DataFrame(rows, columns=names))
    assert text == (
        "Answers by vllm 0.33.0: base/pretrained; vllm 0.33.0 (`serve: lora`): hra/r8; "
        "vllm 0.33.0 (`serve: merged`): oft/b16."
    )
    (text,) = table_notes.answered(pd.DataFrame([*rows, ("hra/r8", "", "")], columns=names))
    assert text.startswith(
        "**Several backends**, which round differently. Answers by a backend that was not recorded: hra/r8;"
    )
    assert table_notes.answered(pd.DataFrame([("hra/r8", "", "")], columns=names)) == []


def test_a_doubled_row_of_the_run_table_is_refused(tmp_path):
    expected = grid(tmp_path, seeds=(0,))
    collect(tmp_path, expected)
    path = tmp_path / "runs_glue.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    with pytest.raises(JobError, match=r"1 duplicate row\(s\), first cola/hra/r8/0/dev/last"):
        make_table(tmp_path, expected)


def test_a_published_file_without_a_column_is_refused(tmp_path):
    expected = grid(tmp_path, seeds=(0,))
    collect(tmp_path, expected)
    (tmp_path / "published.csv").write_text("row,method\n1,HRA\n")
    with pytest.raises(JobError, match=r"expected the columns .* found no column, metric"):
        make_table(tmp_path, expected, tmp_path / "published.csv")


@pytest.mark.parametrize("width", [80, 120, 180])
def test_the_terminal_table_fits(tmp_path, width):
    expected = grid(tmp_path, datasets=tuple(factories.METRICS), runs=tuple(factories.LABELS), seeds=(0, 1))
    collect(tmp_path, expected)
    make_table(tmp_path, expected)
    for record in sorted((tmp_path / "glue").rglob("train.json")):  # each run keeps a copy of its record
        (record.parent / ".finished").mkdir()
        shutil.copy(record, record.parent / ".finished")
    shown = subprocess.run(
        [sys.executable, REPOSITORY / "workflow/scripts/print_table.py", tmp_path / "table_glue.csv"],
        capture_output=True, text=True, check=True, env={"COLUMNS": str(width), "PYTHONIOENCODING": "utf-8"},
    ).stdout  # fmt: skip
    head, _, tail = shown.partition("Where to look next:")
    assert max(map(len, head.splitlines())) <= width and "…" not in head
    for text in ("MNLI", "STS-B", "HRA", "r=8, λ=∞", "H-Adapter"):
        assert text in head
    for name in ("table_glue.csv", "table_glue.md", "runs_glue.csv", "train.json"):
        assert name in tail
    assert ".finished" not in tail


@pytest.mark.parametrize("last, title", [("90.1", "best on dev and last, percent"), ("90.0", "best on dev, percent")])
def test_the_terminal_table_names_the_selections_that_it_shows(tmp_path, last, title):
    from rich.console import Console

    import print_table

    own = {"run": "hra/r8", "method": "HRA", "setting": "", "params_M": "0.1", "params_M_published": "", "missing": ""}
    cells = {"A_std": "0.2", "A_n": "2", "A_difference": ""}
    rows = [
        own | cells | {"selection": "best_on_dev", "A": "90.1", "A_published": "90.0"},
        own | cells | {"selection": "last", "A": last, "A_published": ""},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "table_glue.csv", index=False)
    console = Console(width=100, record=True)
    print_table.show(tmp_path / "table_glue.csv", None, console)
    shown = console.export_text()
    assert f"table_glue, {title}" in shown and shown.count("90.1") == 1


def test_a_column_of_many_datasets_is_their_mean(tmp_path):
    """Check the mean of means; if no evaluated run has the metric, the cell is empty."""
    expected = grid(tmp_path, datasets=("rte", "sst2"), runs=("hra/r8", "lora/r8"), seeds=(0, 1))
    made = [run for run in expected if (run["dataset"], run["method"], run["seed"]) != ("rte", "hra", 1)]
    runs = collect(tmp_path, expected, made=made, incomplete=True)
    job = factories.table_job(tmp_path, expected)
    wide = {"name": "Both", "datasets": ["rte", "sst2"], "benchmark": "dev", "metric": "accuracy"}
    job["params"] |= {"columns": [wide, wide | {"name": "None", "metric": "unheard"}], "averages": {}, "scale": 1}
    table.main(job)
    made = run_statistics.read_csv(tmp_path / "table_glue.csv")
    chosen = runs[(runs["selection"] == "last") & (runs["metric"] == "accuracy") & (runs["status"] == "ok")]
    chosen = chosen.astype({"value": float}).groupby(["method", "dataset"])["value"].mean()
    hra, lora = line(made, "hra/r8", "last"), line(made, "lora/r8", "last")
    assert (hra["Both"], hra["Both_n"]) == (f"{chosen['hra'].mean():.3f}", "1") and "rte" in hra["missing"]
    assert (lora["Both"], lora["Both_n"]) == (f"{chosen['lora'].mean():.3f}", "2")
    assert lora["None"] == lora["None_n"] == hra["None"] == ""
    assert "Unscaled, not percent." in (tmp_path / "table_glue.md").read_text()


# The published numbers


@needs_paper
def test_published_glue_equals_the_paper_cell_by_cell():
    ours = run_statistics.read_csv(PUBLISHED)
    with open(PAPER / "table2_glue.csv") as stream:
        paper = list(csv.DictReader(stream))
    columns = ["MNLI", "SST-2", "CoLA", "QQP", "QNLI", "RTE", "MRPC", "STS-B", "All"]
    wanted = [
        (str(number), row["method"], row["setting"], row["params_M"], column, row[column], row["source"])
        for number, row in enumerate(paper, 1)
        for column in columns
    ]
    names = ["row", "method", "setting", "params_M", "column", "value", "source"]
    assert list(ours[names].itertuples(index=False, name=None)) == wanted


@needs_paper
def test_published_lambda_equals_the_paper_cell_by_cell():
    ours = run_statistics.read_csv(PUBLISHED.with_name("glue_lambda.csv"))
    paper = run_statistics.read_csv(PAPER / "fig3_mrpc_lambda_r8.csv")
    names = ["bar", "lambda", "value", "mapping_note", "source"]
    assert ours[names].to_numpy().tolist() == paper.to_numpy().tolist()


def test_scales_of_the_published_numbers():
    """Verify the scale: an accuracy on MRPC's 408 items is a multiple of 1/408, "All" is a plain mean."""
    published = run_statistics.read_csv(PUBLISHED)
    for _, cells in published.groupby("row"):
        cells = cells.set_index("column")
        values = cells["value"].astype(float)
        assert abs(values["MNLI":"STS-B"].mean() - values["All"]) < 0.0101
        mrpc = values["MRPC"]
        is_accuracy = any(f"{100 * k / 408:.2f}" == f"{mrpc:.2f}" for k in range(409))
        assert is_accuracy == (cells.loc["MRPC", "metric"] == "accuracy") == (cells.loc["QQP", "metric"] == "accuracy")
    for name, metric in [("CoLA", "matthews_correlation"), ("STS-B", "pearson_spearman_mean"), ("RTE", "accuracy")]:
        assert published.loc[published["column"] == name, "metric"].eq(metric).all()
