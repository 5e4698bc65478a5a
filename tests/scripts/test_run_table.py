"""The run table: one row per run, benchmark, selection and metric, or a clear error."""

import json
import re
from pathlib import Path

import pytest

import collect_runs
import factories
import figures
import tuned
from glue_tables import collect, grid, line, make_table
from hra_workflow.core import files, records
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_columns, run_statistics, tuning_results


def test_one_row_per_run_benchmark_selection_and_metric_in_config_order(tmp_path):
    expected = grid(tmp_path, datasets=("sst2", "mrpc", "mnli"), runs=("hra/r8", "full/all"), seeds=(4, 1))
    runs = collect(tmp_path, expected)
    assert list(runs.columns) == list(run_columns.columns())
    keys = runs[["method", "dataset", "seed"]].drop_duplicates().to_records(index=False).tolist()
    assert keys == [(m, d, s) for m in ("hra", "full") for d in ("sst2", "mrpc", "mnli") for s in ("4", "1")]
    assert len(runs) == 2 * 2 * (2 + 2 * 3 + 2 * 2)
    assert runs["benchmark"].unique().tolist() == ["dev", "matched", "mismatched"]
    first = runs.iloc[0]
    assert (first["status"], first["error"], first["versions"]) == ("ok", "", "peft=0.18.0;torch=2.9.0")
    assert (first["seconds"], first["dirty"], first["step"], first["steps"]) == ("123.457", "false", "200", "1200")
    assert first["micro_batch"] == "16"  # of a batch of 32 in two steps


def test_a_failed_run_is_a_row_with_its_error(tmp_path):
    expected = grid(tmp_path)
    error = Path(expected[1]["errors"][1])
    error.parent.mkdir(parents=True)
    error.write_text(json.dumps({"status": "failed", "rule": "train", "error": "OutOfMemoryError: no\n memory"}))
    with pytest.raises(JobError, match=r"2 result\(s\).*seed1 \(failed: OutOfMemoryError: no memory\)"):
        collect(tmp_path, expected, made=expected[:1])
    runs = collect(tmp_path, expected, made=expected[:1], incomplete=True)
    assert runs["status"].tolist() == ["ok", "ok", "failed", "missing"]
    assert runs["error"].tolist() == ["", "", "OutOfMemoryError: no memory", ""]
    assert runs["seed"].tolist() == ["0", "0", "1", "2"]


@pytest.mark.parametrize("name", ["train.json", "dev/metrics.json"])
def test_one_edited_digit_is_refused_by_name(tmp_path, name):
    (run,) = grid(tmp_path, seeds=(0,))
    paths = [factories.write(tmp_path, run, [0.5])]
    edited = Path(paths[0][0]).parent / name
    assert edited.read_text().count("0.5") and "0.5" in edited.read_text()
    edited.write_text(edited.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(JobError, match=rf"seed0/{name}: expected the content .* edited or damaged\. Delete it and run"):
        collect_runs.main(factories.collect_job(tmp_path, [run], paths))


def change(run: dict, settings: dict) -> None:
    run["record"] = run["record"] | {"settings": run["record"]["settings"] | settings}


ASKED = {"hyperparameters": factories.SETTINGS | {"learning_rate": 5e-3}}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (ASKED, "learning_rate 0.001, now 0.005"),
        ({"hyperparameters": factories.SETTINGS | {"eval_batch_size": 2}}, None),  # neutral
        ({"hyperparameters": factories.SETTINGS | {"warmup_steps": 7}}, "warmup_steps null, now 7"),
        ({"method": {"version": 2}}, "method.version 1, now 2"),
        ({"task_version": 2}, "task_version 1, now 2"),
        ("c", "inputs.dataset.manifest.json bbbbbbbbbbbb…, now cccccccccccc…"),
        ("b", None),
    ],
)
def test_a_record_of_another_run_than_the_config_asks_for_is_refused(tmp_path, monkeypatch, asked, message):
    monkeypatch.chdir(tmp_path)
    (run,) = grid(tmp_path, seeds=(0,))
    made = run["record"] | {"inputs": {"dataset.manifest.json": 64 * "b", "gone.manifest.json": 64 * "a"}}
    paths = [factories.write(tmp_path, run, [0.5], made_from=made)]
    if isinstance(asked, str):
        files.write_json("dataset.manifest.json", {"sha256": 64 * asked})
    else:
        change(run, asked)
    job = factories.collect_job(tmp_path, [run], paths)
    if not message:
        collect_runs.main(job)
        return
    expected = re.escape(f"cola/hra/r8/seed0 (outdated: {message}; delete {paths[0][0]})")
    with pytest.raises(JobError, match=rf"1 result.* of glue are not those that the config specifies: {expected}"):
        collect_runs.main(job)


def test_an_incomplete_table_has_no_mean_over_two_rates(tmp_path):
    expected = grid(tmp_path, seeds=(0, 1))
    paths = [factories.write(tmp_path, run, [0.5]) for run in expected]
    change(expected[1], ASKED)
    collect_runs.main(factories.collect_job(tmp_path, expected, paths, incomplete=True))
    row = line(make_table(tmp_path, expected), "hra/r8")
    assert row["CoLA_n"] == "1" and "cola: seed 1 (outdated: learning_rate 0.001, now 0.005; delete" in row["missing"]
    assert "0 failed, 0 missing and 1 outdated result(s)" in (tmp_path / "table_glue.md").read_text()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"settings": {"dataset": "cola", "split": "test"}}, "split test, now dev"),
        ({"inputs": {"d.manifest.json": "e" * 64}}, r"inputs.d.manifest.json eeeeeeeeeeee…, now bbbbbbbbbbbb…"),
        ({}, "it does not record what it was made from"),
    ],
)
def test_metrics_of_another_evaluation_are_refused(tmp_path, monkeypatch, made, message):
    monkeypatch.chdir(tmp_path)
    files.write_json("d.manifest.json", {"sha256": "b" * 64})
    (run,) = grid(tmp_path, seeds=(0,))
    record, (path,) = factories.write(tmp_path, run, [0.5])
    content = records.read(path)
    stated = content.pop("made_from")
    records.write(path, content | ({"made_from": stated | made} if made else {}))
    with pytest.raises(JobError, match=message):
        collect_runs.main(factories.collect_job(tmp_path, [run], [(record, [path])]))


def tuned_run(folder: Path) -> tuple[dict, list]:
    """Write a run whose rate trials chose; return its entry and its files."""
    (run,) = grid(folder, seeds=(0,))
    paths = [factories.write(folder, run, [0.5])]
    change(run, {"hyperparameters": {k: v for k, v in factories.SETTINGS.items() if k != "learning_rate"}})
    run["record"]["chosen"] = str(folder / "tune/glue/cola/hra/r8.json")
    return run, paths


def test_a_rate_that_the_trials_have_not_chosen_is_refused(tmp_path):
    run, paths = tuned_run(tmp_path)
    job = factories.collect_job(tmp_path, [run], paths)
    with pytest.raises(JobError, match=r"the values that its trials chose are missing \(.*/cola/hra/r8\.json\)"):
        collect_runs.main(job)
    records.write(run["record"]["chosen"], {"values": {"learning_rate": 1e-3}})
    collect_runs.main(job)
    records.write(run["record"]["chosen"], {"values": {"learning_rate": 0.002}})
    with pytest.raises(JobError, match=r"learning_rate 0\.001, now 0\.002"):
        collect_runs.main(job)


def test_a_run_whose_trials_are_of_another_config_is_refused(tmp_path):
    run, paths = tuned_run(tmp_path)
    trials = tuned.made(tmp_path, {"hra/r8": [0.5, 0.9, 0.8]})
    (run["record"]["chosen"],) = tuned.choices(tmp_path, trials)
    job = factories.collect_job(tmp_path, [run], paths)
    job["input"]["tuning"] = str(tmp_path / "tune_glue.csv")
    table = tuning_results.table(trials, tuned.expected(trials, epochs=4), incomplete=True)
    table.to_csv(job["input"]["tuning"], index=False)
    named = ".*".join(f"epochs 3, now 4; delete {one['record']}" for one in trials)
    with pytest.raises(JobError, match=rf"cola/hra/r8/seed0 \(outdated: of its trials: {named}"):
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
    figures.main(factories.figures_job(tmp_path, expected, [path for path, _ in paths]))
