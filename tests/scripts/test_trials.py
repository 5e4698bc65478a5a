"""Trials of hyper-parameters: their training jobs, the choice between them, their table and notes."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

import choose
import collect_trials
import train_glue
from hra_workflow.core import files, made_from, records, tuning
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from hra_workflow.report import run_statistics, tuning_results
from support import method
from tuned import choice, choices, collect, expected, made, trial_job

SHARE = {"share": 0.25, "seed": 0}


def test_a_trial_keeps_its_score_and_no_weights_and_may_diverge(make_run, monkeypatch):
    train_glue.main(job := trial_job(make_run(method("hra"), held_out=SHARE)))
    record = files.read_json(job["output"]["record"])
    best = max(entry["metrics"]["accuracy"] for entry in record["curve"])
    assert record["held_out"] == {"metric": "accuracy", "value": best, "rows": 24, "train_rows": 72}
    assert record["steps"] == 10 and record["adapter_bytes"] > 1000
    assert all(load_file(path) == {} for path in (job["output"]["last"], job["output"]["best"]))
    assert not list(Path(job["output"]["record"]).parent.glob("scores/*.safetensors"))

    def diverging(*arguments):
        model = started(*arguments)
        next(one for one in model.parameters() if one.requires_grad).data.fill_(float("nan"))
        return model

    started = adapters.start_training
    monkeypatch.setattr(adapters, "start_training", diverging)
    train_glue.main(job := trial_job(make_run(method("hra"), "diverging", held_out=SHARE)))
    record = files.read_json(job["output"]["record"])
    assert record["status"] == "diverged" and "is nan at step" in record["error"]
    asked = {name: job["params"][name] for name in job["params"]["expects"]["settings"]}
    assert made_from.list_differences(record["made_from"], {"settings": asked}) == []


@pytest.mark.parametrize(
    ("scores", "metric", "chosen"),
    [
        ([0.5, 0.9, 0.8], "accuracy", 0.01),
        ([0.5, 0.9, 0.8], "loss", 0.001),
        ([0.5, "NaN", 0.4], "accuracy", 0.001),
        ([0.9, 0.9, 0.1], "accuracy", 0.001),
    ],
)
def test_the_best_score_is_chosen(tmp_path, scores, metric, chosen):
    trials = made(tmp_path, {"hra/r8": scores}, metric)
    found = choice(tmp_path, trials, "math" if metric == "loss" else "glue")
    assert found["values"] == {"learning_rate": chosen} and "error" not in found


def test_a_choice_that_was_edited_is_refused(tmp_path):
    trials = made(tmp_path, {"hra/r8": [0.5, 0.9, 0.8], "lora/r8": [0.9, 0.1, 0.1]})
    hra, lora = choices(tmp_path, trials)
    assert list(run_statistics.read_csv(collect(tmp_path, trials, [hra, lora]))["chosen"]).count("true") == 2
    before = Path(hra).read_text()
    for edited in (before.replace("0.01", "0.08"), before.replace("0.01", "0.001")):
        assert edited != before
        Path(hra).write_text(edited)
        for read in (
            lambda: tuning.require_choice({"input": {"chosen": hra}}),
            lambda: collect(tmp_path, trials, [hra, lora]),
            lambda: tuning.chosen_values(hra),
        ):
            with pytest.raises(JobError, match=r"hra/r8.json: expected the .*, found .* Delete it and run"):
                read()


def of_other_data(first: dict, second: dict) -> dict:
    files.write_json("dataset.manifest.json", {"sha256": 64 * "c"})
    return first | {"made_from": first["made_from"] | {"inputs": {"dataset.manifest.json": 64 * "b"}}}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("change", "epochs", "message"),
    [
        (lambda _, second: second, 3, r"result \S+-0\.01/0, now \S+-0\.001/0, learning_rate 0\.01, now 0\.001"),
        (lambda first, _: first | {"made_from": None}, 3, "it does not record what it was made from"),
        (of_other_data, 3, r"inputs\.\S+ bbbbbbbbbbbb…, now cccccccccccc…"),
        (lambda first, _: first, 4, "epochs 3, now 4"),
    ],
)
def test_a_record_of_another_trial_or_config_decides_nothing(tmp_path, change, epochs, message):
    trials = made(tmp_path, {"hra/r8": [0.5, 0.9, 0.8]})
    chosen = choices(tmp_path, trials)
    records.write(trials[0]["record"], change(*(records.read(one["record"]) for one in trials[:2])))
    asked = expected(trials, epochs)
    params = {"trials": trials, "expected": asked, "incomplete": False}
    job = {"params": params, "wildcards": {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8"}}
    output = {name: str(tmp_path / f"new-{name}") for name in ("choice", "csv")}
    for script in (choose, collect_trials):
        named = rf"not those that the config specifies: {message}.*; delete {trials[0]['record']}.* Delete the files"
        with pytest.raises(JobError, match=named):
            script.main(job | {"output": output, "input": {"choices": chosen}})
    assert not list(tmp_path.glob("new-*"))
    job["params"]["incomplete"] = True
    collect_trials.main(job | {"output": output, "input": {"choices": chosen}})
    first = run_statistics.read_csv(output["csv"]).iloc[0]
    assert (first["status"], first["score"]) == ("outdated", "") and first["error"].endswith(trials[0]["record"])


def test_a_choice_that_is_not_the_best_of_these_trials_is_refused(tmp_path):
    """As after a value was removed from the search, in results that were copied without Snakemake's records."""
    trials = made(tmp_path, {"hra/r8": [0.5, 0.9, 0.8]})
    chosen = choices(tmp_path, trials)
    message = r"r8\.json: expected .* best trial, {'learning_rate': 0\.1}, found {'learning_rate': 0\.01}\. Delete it"
    with pytest.raises(JobError, match=message):
        collect(tmp_path, trials[::2], chosen)
    collect(tmp_path, trials[::2], chosen, incomplete=True)


def test_the_table_has_every_trial(tmp_path):
    runs = {"hra/r8": [0.5, 0.9, "nan at step 3"], "lora/r8": [0.7, 0.6, None], "dora/r8": ["nan at step 3"] * 3}
    trials = made(tmp_path, runs)
    table = run_statistics.read_csv(collect(tmp_path, trials, choices(tmp_path, trials)))
    assert list(table["learning_rate"]) == ["0.001", "0.01", "0.1"] * 3 and table["held_out_rows"][0] == "20"
    assert list(table["status"]) == [*["ok", "ok", "diverged"], *["ok", "ok", "missing"], *["diverged"] * 3]
    assert list(table["chosen"]) == ["false", "true", "false", "true", *["false"] * 5]
    assert table["score"][1] == "0.9" and table["score"][2] == "" and table["error"][2] == "nan at step 3"


def test_a_trial_on_several_devices_costs_their_time(tmp_path):
    trials = made(tmp_path, {"hra/r8": [0.5, 0.9, None]})
    (first, record), second = [(Path(trials[0]["record"]), files.read_json(trials[0]["record"])), trials[1]["record"]]
    records.write(first, record | {"seconds": 10, "device_seconds": 40})
    found = tuning_results.table(trials, expected(trials))
    assert found["device_seconds"].tolist()[:2] == [40, files.read_json(second)["seconds"]]  # older ones lack it
