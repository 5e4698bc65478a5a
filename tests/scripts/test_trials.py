"""Trials of hyper-parameters: their training jobs, the choice between them, their table, figure and notes."""

from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import load_file

import choose
import collect_trials
import train_glue
import train_math
import tuning_figure
from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core import files, grid, records, tuning
from hra_workflow.core.errors import JobError
from hra_workflow.cost import disk
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.report import run_statistics, tuning_results
from hra_workflow.training import checkpoints
from hra_workflow.training.interruption import Interrupted
from sums import LLAMA_TARGETS
from support import method, paper_config

SHARE = {"share": 0.25, "seed": 0}


def trial_job(run, value: float) -> dict:
    """Return the training job of a trial: rules/common.smk gives it no benchmarks."""
    job = run.train
    job["wildcards"] = job["wildcards"] | {"variant": f"v{tuning.MARK}learning_rate-{value}"}
    if "dataset" in job["params"]:
        job["params"] |= {"dataset": run.dataset | {"benchmarks": {}}}
    return job


def test_a_trial_records_its_score_and_keeps_no_weights(make_run):
    run = make_run(method("hra"), held_out=SHARE | {"train_rows": 48})
    train_glue.main(trial_job(run, 5e-3))
    record = files.read_json(run.train["output"]["record"])
    best = max(entry["metrics"]["accuracy"] for entry in record["curve"])
    assert record["held_out"] == {"metric": "accuracy", "value": best, "rows": 24, "train_rows": 48}
    assert record["steps"] == 6 and record["adapter_bytes"] > 1000
    assert all(load_file(path) == {} for path in run.weights.values())
    assert not list(Path(run.train["output"]["record"]).parent.glob("*/.early-*"))


def test_a_trial_of_a_language_model_is_judged_by_its_loss(make_math_run):
    run = make_math_run(method("lora", targets=LLAMA_TARGETS), held_out=SHARE)
    train_math.main(trial_job(run, 1e-2))
    record = files.read_json(run.train["output"]["record"])
    assert record["held_out"]["metric"] == "loss" and 0 < record["held_out"]["value"] < 10
    assert (record["held_out"]["rows"], record["held_out"]["train_rows"]) == (16, 48)
    assert record["steps"] == 12


def test_a_trial_that_fails_is_recorded_but_a_final_run_is_not(make_run, monkeypatch):
    from hra_workflow.models import adapters

    def broken(*arguments):
        raise ValueError("no such start")

    run = make_run(method("hra"), held_out=SHARE)
    monkeypatch.setattr(adapters, "start_training", broken)
    train_glue.main(trial_job(run, 5e-3))
    record = files.read_json(run.train["output"]["record"])
    assert (record["status"], record["error"]) == ("failed", "ValueError: no such start")
    with pytest.raises(ValueError, match="no such start"):
        train_glue.main(run.train)


@pytest.mark.parametrize("problem", [OSError("No space left on device"), JobError("damaged"), MemoryError()])
def test_a_fault_of_the_machine_is_no_result_of_a_trial(make_run, monkeypatch, problem):
    from hra_workflow.models import classifier

    def broken(*arguments):
        raise problem

    run = make_run(method("hra"), held_out=SHARE)
    monkeypatch.setattr(classifier, "load_tokenizer", broken)
    with pytest.raises(type(problem)):
        train_glue.main(trial_job(run, 5e-3))
    assert not Path(run.train["output"]["record"]).exists()


def test_an_interrupted_trial_resumes(make_run, monkeypatch):
    run = make_run(method("hra"), held_out=SHARE)
    job = trial_job(run, 5e-3)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "0")
    with pytest.raises(Interrupted, match="time limit"):
        train_glue.main(job)
    assert checkpoints.newest(Path(job["params"]["scratch"]))[0]
    monkeypatch.delenv("SLURM_JOB_ID")
    train_glue.main(job)
    assert files.read_json(job["output"]["record"])["resumed_from"] == [1]


def test_a_final_run_whose_trials_all_failed_says_so(make_run, tmp_path):
    run = make_run(method("hra"))
    tuning.write_choice(tmp_path / "choice.json", {"values": {}, "error": "none of the 2 trials of hra/r8 on tiny"})
    job = run.train
    job["input"]["chosen"] = str(tmp_path / "choice.json")
    with pytest.raises(JobError, match="none of the 2 trials of hra/r8 on tiny"):
        train_glue.main(job)


# The choice, the table and the figure

RATES = (0.001, 0.01, 0.1)


def made(folder, scores: dict[str, list], metric: str = "accuracy", seeds: int = 1) -> list[dict]:
    """Write the records of the trials of some runs, a score, an error or None (missing) each; return the trials."""
    trials = []
    for run, found in scores.items():
        name, variant = run.split("/")
        for rate, score in zip(RATES, found, strict=True):
            for seed in range(seeds):
                trial = f"{variant}{tuning.MARK}learning_rate-{rate}"
                path = folder / name / trial / f"seed{seed}/train.json"
                one = {"dataset": "cola", "method": name, "variant": variant, "trial": trial, "seed": seed}
                trials.append(one | {"values": {"learning_rate": rate}, "record": str(path)})
                record = {"status": "ok", "steps": 10, "seconds": 1.5}
                if isinstance(score, str):
                    record = {"status": "diverged", "error": score, "seconds": 1.5}
                elif score is not None:
                    value = score[seed] if isinstance(score, tuple) else score
                    record["held_out"] = {"metric": metric, "value": value, "rows": 20, "train_rows": 80}
                if score is not None:
                    path.parent.mkdir(parents=True)
                    records.write(path, record)
    return trials


def choices(folder, trials: list[dict]) -> list[str]:
    """Choose for every run of some trials; return the files."""
    paths = []
    for run in dict.fromkeys(f"{one['method']}/{one['variant']}" for one in trials):
        names = dict(zip(("method", "variant"), run.split("/"), strict=True)) | {"task": "glue", "dataset": "cola"}
        paths.append(str(folder / f"glue/cola/{run}.json"))
        of_run = [one for one in trials if one["method"] == names["method"]]
        choose.main({"params": {"trials": of_run}, "wildcards": names, "output": {"choice": paths[-1]}})
    return paths


def choice(folder, trials: list[dict]) -> dict:
    return tuning.read_choice(*choices(folder, trials))


@pytest.mark.parametrize(
    ("scores", "metric", "seeds", "chosen"),
    [
        ([0.5, 0.9, 0.8], "accuracy", 1, 0.01),
        ([0.5, 0.9, 0.8], "loss", 1, 0.001),
        ([0.5, "NaN", 0.4], "accuracy", 1, 0.001),
        ([0.9, 0.9, 0.1], "accuracy", 1, 0.001),
        ([(0.9, 0.1), (0.6, 0.6), (0.2, 0.2)], "accuracy", 2, 0.01),
    ],
)
def test_the_best_mean_score_is_chosen(tmp_path, scores, metric, seeds, chosen):
    trials = made(tmp_path, {"hra/r8": scores}, metric, seeds)
    found = choice(tmp_path, trials)
    assert found["values"] == {"learning_rate": chosen} and "error" not in found


def test_if_all_trials_fail_the_choice_says_so(tmp_path):
    found = choice(tmp_path, made(tmp_path, {"hra/r8": ["FloatingPointError: nan at step 3"] * 3}))
    assert found["values"] == {}
    assert "trials of hra/r8 on cola has a final score. The first error: FloatingPointError" in found["error"]


def test_a_choice_that_was_edited_or_copied_is_refused(tmp_path):
    trials = made(tmp_path, {"hra/r8": [0.5, 0.9, 0.8], "lora/r8": [0.9, 0.1, 0.1]})
    hra, lora = choices(tmp_path, trials)
    assert list(run_statistics.read_csv(collect(tmp_path, trials, [hra, lora]))["chosen"]).count("true") == 2
    before = Path(hra).read_text()
    for edited in (before.replace("0.01", "0.08"), before.replace("0.01", "0.001"), Path(lora).read_text()):
        assert edited != before
        Path(hra).write_text(edited)
        for read in (
            lambda: tuning.require_choice({"input": {"chosen": hra}}),
            lambda: collect(tmp_path, trials, [hra, lora]),
            lambda: tuning.chosen(hra),
        ):
            with pytest.raises(JobError, match=r"hra/r8.json: expected the .*, found .* Delete it and run"):
                read()


@pytest.fixture
def collected(tmp_path) -> Path:
    """Write the table of trials of three runs."""
    runs = {"hra/r8": [0.5, 0.9, "nan at step 3"], "lora/r8": [0.7, 0.6, None], "dora/r8": ["nan at step 3"] * 3}
    trials = made(tmp_path, runs)
    return collect(tmp_path, trials, choices(tmp_path, trials))


def collect(folder, trials: list[dict], chosen: list[str]) -> Path:
    output = {"csv": str(folder / "tune_glue.csv")}
    collect_trials.main({"params": {"trials": trials}, "input": {"choices": chosen}, "output": output})
    return folder / "tune_glue.csv"


def test_the_table_has_every_trial(collected):
    table = run_statistics.read_csv(collected)
    assert list(table["learning_rate"]) == ["0.001", "0.01", "0.1"] * 3
    assert list(table["status"]) == [*["ok", "ok", "diverged"], *["ok", "ok", "missing"], *["diverged"] * 3]
    assert list(table["chosen"]) == ["false", "true", "false", "true", *["false"] * 5]
    assert table["score"][1] == "0.9" and table["score"][2] == "" and table["error"][2] == "nan at step 3"
    assert table["held_out_rows"][0] == "20"


def test_the_notes_state_the_budget_and_warn_at_the_edge(collected):
    labels = {"hra/r8": "HRA", "lora/r8": "LoRA", "dora/r8": "DoRA"}
    budget, edge, lost = tuning_results.notes("glue", run_statistics.read_csv(collected), labels)
    assert "Tuned: learning_rate, in 3 trials with 1 seed for each method and dataset, by accuracy on 20" in budget
    assert edge.endswith("outside it: LoRA on cola: learning_rate 0.001, the smallest.")
    assert lost == "**No trial has a score**: DoRA on cola."


def test_the_figure_shows_every_run(collected, tmp_path):
    labels = {"hra/r8": "HRA", "lora/r8": "LoRA", "dora/r8": "DoRA"}
    params = {"task": "glue", "labels": labels, "colours": {"hra": "#D55E00", "lora": "#0072B2", "dora": "#332288"}}
    output = {kind: str(tmp_path / f"figure.{kind}") for kind in ("svg", "png")}
    tuning_figure.main({"input": {"trials": str(collected)}, "params": params, "output": output})
    drawn = Path(output["svg"]).read_text()
    first = Path(output["png"]).read_bytes()
    assert drawn and len(first) > 5000
    trials = run_statistics.read_csv(collected)
    trials = trials.assign(run=trials["method"] + "/" + trials["variant"], score=pd.to_numeric(trials["score"]))
    figure = tuning_figure.figure_of(trials, params)
    (ax,) = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    assert list(lines["HRA"][:2]) == [0.5, 0.9] and ax.get_xscale() == "log"
    assert "4 diverged, 1 missing" in figure.get_supxlabel()


# The config


def tuned_config(**tune) -> dict:
    config = paper_config()
    glue = config["tasks"]["glue"]
    glue["grid"] = [{"runs": ["lora/r8", "hra/r8"], "datasets": ["cola"], "seeds": [0]}]
    glue |= {"columns": glue["columns"][2:3], "averages": [], "figures": {"parameters": ["CoLA"], "lambda": []}}
    glue["tune"] = {"search": {"learning_rate": [1e-3, 2e-3]}, "trials": 2} | tune
    return config


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        (
            {"search": {"learning_rte": [1.0]}},
            r"tune.search: .*'learning_rte' was unexpected.*known keys: .*learning_rate",
        ),
        (
            {"search": {"learning_rate": [0]}},
            "tune.search.learning_rate.0: 0 is less than or equal to the minimum of 0",
        ),
        ({"search": {"learning_rate": ["1e-3"]}}, "YAML reads 1e-5 as text"),
        ({"search": {}}, "tune.search: {} "),
        ({"trials": 0}, "tune.trials: 0 is less than the minimum of 1"),
        ({"seeds": 0}, "tune.seeds: 0 is less than the minimum of 1"),
        ({"trials": 3}, "lora/r8 has 2 combinations of values for trials: 3. Every method gets the same number"),
        ({"methods": {"hra": {"learning_rate": [1e-2]}}}, "hra/r8 has 1 combinations of values for trials: 2"),
        ({"methods": {"base": {"learning_rate": [1.0, 2.0]}}}, "methods: base has no learning rate to tune"),
        ({"methods": {"hraa": {}}}, "tune.methods: unknown method or variant 'hraa'"),
        ({"search": {"batch_size": [32, 33], "gradient_accumulation": [2]}}, "batch_size 33 is not a multiple of"),
        ({"search": {"learning_rate": [1.0e-3, 0.001]}}, r"search.learning_rate: \[0.001, 0.001\] has non-unique"),
        ({"methods": {"hra": {"weight_decay": [0, 0.0]}}}, r"tune.methods.hra.weight_decay: \[0, 0.0\] has non-unique"),
        ({"seeds": 2}, r"the trials have the seeds from 1000, and tasks.glue.grid has \[1001\] too"),
    ],
)
def test_wrong_searches_stop_the_dry_run(tune, message):
    config = tuned_config(**tune)
    config["tasks"]["glue"]["grid"][0]["seeds"] = [0, 999, 1001]
    with pytest.raises(JobError, match=message):
        validation.check(config)


def test_tasks_say_of_their_trainers_whether_the_number_of_processes_matters():
    from hra_workflow.training.diffusion_trainer import Trainer
    from hra_workflow.training.hf_trainer import ResumableTrainer

    of_tasks = {name: one.per_process for name, one in tasks.classes().items()}
    text, images = ResumableTrainer.per_process, Trainer.per_process
    assert of_tasks == {"glue": text, "math": text, "subject": images, "control": images}


def test_a_right_search_passes_and_a_missing_share_does_not():
    validation.check(config := tuned_config())
    del config["tasks"]["glue"]["held_out"]
    with pytest.raises(JobError, match=r"tasks.glue.tune: expected `held_out: \{share: 0.1\}`"):
        validation.check(config)


def test_a_trial_has_its_values_and_a_final_run_the_chosen_ones(here):
    config = tuned_config(rows=500)
    preset = grid.hyperparameters(paper_config(), "glue", "cola", "hra/r8")
    trial = grid.hyperparameters(config, "glue", "cola", "hra/r8@learning_rate-0.002")
    share = config["tasks"]["glue"]["held_out"]
    assert trial == preset | {"learning_rate": 2e-3, "held_out": share | {"train_rows": 500}}
    assert grid.hyperparameters(config, "glue", "cola", "hra/r8") == preset
    tuning.write_choice("results/tune/glue/cola/hra/r8.json", {"values": {"learning_rate": 7.0}})
    assert grid.hyperparameters(config, "glue", "cola", "hra/r8") == preset | {"learning_rate": 7.0}
    assert grid.hyperparameters(config, "glue", "cola", "lora/r8")["learning_rate"] != 7.0


def test_the_disk_estimate_takes_the_size_of_a_run_from_its_trials(here):
    names = {"task": "glue", "dataset": "cola", "method": "hra", "seed": "0"}
    trials = [
        Job("train_glue", names | {"variant": f"r8@learning_rate-{rate}"}, [], "", record=f"{rate}.json")
        for rate in RATES
    ]
    here("0.001.json", {"status": "ok", "adapter_bytes": 123})
    here("0.01.json", {"status": "diverged", "error": "nan"})
    assert disk.weights(trials) == {("glue", "hra/r8"): 123}


def test_a_random_search_keeps_its_trials_when_the_budget_grows():
    tune = {"search": {"learning_rate": [1, 2, 3, 4], "weight_decay": [0, 1]}, "sampler": "random"}
    few, more = (set(tuning.trials(tune | {"trials": count}, "hra/r8")) for count in (3, 5))
    assert len(few) == 3 and len(more) == 5 and few < more
    assert few != set(tuning.trials(tune | {"trials": 3, "seed": 1}, "hra/r8"))
