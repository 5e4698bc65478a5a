"""Successive halving: trials that end at a rung, those that go on, their table and figure."""

from pathlib import Path

import pytest

import promote
import train_glue
import train_math
import tuning_figure
from hra_workflow.config import validation
from hra_workflow.core import files, records, tuning
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_statistics, tuning_results
from hra_workflow.tasks import tuned_runs
from hra_workflow.tasks.glue.task import Glue
from hra_workflow.training.interruption import Interrupted
from hra_workflow.training.trials import last_step
from saved_states import check_restored
from sums import LLAMA_TARGETS
from support import method
from tuned import choices, collect, expected, of_trial, trial_job, tuned_config

SHARE = {"share": 0.25, "seed": 0}
RUNG = 0.4


def trained(script, job: dict) -> dict:
    script.main(job)
    return files.read_json(job["output"]["record"])


def test_a_trial_goes_on_from_its_rung_as_if_it_had_not_ended_there(make_run, monkeypatch):
    whole, halved = (make_run(method("hra"), name, held_out=SHARE) for name in ("whole", "halved"))
    expected = trained(train_glue, trial_job(whole))
    job = trial_job(halved, RUNG)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "0")
    with pytest.raises(Interrupted, match="time limit"):
        train_glue.main(job)
    monkeypatch.delenv("SLURM_JOB_ID")
    first = trained(train_glue, job)
    assert (first["steps"], first["resumed_from"], expected["steps"]) == (4, [1], 10)
    assert first["held_out"]["value"] == max(entry["metrics"]["accuracy"] for entry in first["curve"])
    assert first["curve"][-1]["step"] == 4

    check_restored(job)

    last = trained(train_glue, trial_job(halved))
    assert (last["steps"], last["resumed_from"], last["attempts"]) == (10, [4], 1)
    assert (last["curve"], last["held_out"]) == (expected["curve"], expected["held_out"])
    check_restored(trial_job(halved))


def test_a_language_model_goes_on_from_its_rung(make_math_run):
    runs = (make_math_run(method("lora", targets=LLAMA_TARGETS), name, held_out=SHARE) for name in ("whole", "halved"))
    whole, halved = runs
    expected = trained(train_math, trial_job(whole))
    first, last = (trained(train_math, trial_job(halved, rung)) for rung in (0.5, tuning.END))
    assert (first["steps"], last["resumed_from"]) == (6, [6])
    assert last["held_out"] == expected["held_out"] != first["held_out"]


def test_a_repeated_rung_uses_no_checkpoint_of_a_later_one(make_run):
    run = make_run(method("hra"), held_out=SHARE)
    first = trained(train_glue, trial_job(run, RUNG))
    later = trained(train_glue, trial_job(run, 0.7))
    assert later["resumed_from"] == [4] and later["steps"] == 7
    again = trained(train_glue, trial_job(run, RUNG))
    assert again["resumed_from"] == [] and again["held_out"] == first["held_out"]


@pytest.mark.parametrize(("rung", "steps", "last"), [(0.25, 7, 2), (0.1, 3, 1), (None, 7, 7)])
def test_a_rung_is_at_the_nearest_step(rung, steps, last):
    settings = {} if rung is None else {"rung": rung}
    assert last_step({"params": {"hyperparameters": settings}}, steps) == last


# Which go on


def made(folder: Path, scores: dict[float, dict[str, float | None]], metric: str = "accuracy") -> list[dict]:
    """Write the records of trials at rungs, None for a diverged one; return the trials."""
    trials = []
    for rung, found in scores.items():
        for name, score in found.items():
            record = folder / tuning.up_to(name, rung) / "train.json"
            record.parent.mkdir(parents=True)
            content = {"status": "diverged", "error": "nan at step 3", "seconds": 2.0}
            if score is not None:
                held_out = {"metric": metric, "value": score, "rows": 20, "train_rows": 80}
                content = {"status": "ok", "steps": 10, "seconds": 2.0, "held_out": held_out}
            names = {"dataset": "cola", "method": "hra", "variant": "r8", "trial": name, "seed": 0}
            values = {"learning_rate": float(name.split("-")[-1])}
            trials.append(names | {"values": values, "rung": rung, "record": str(record)})
            records.write(record, of_trial(trials[-1]) | content)
    return trials


@pytest.mark.parametrize(
    ("scores", "metric", "best"),
    [
        ({"t-1": 0.5, "t-2": 0.9, "t-3": 0.8, "t-4": 0.1}, "accuracy", ["t-2", "t-3"]),
        ({"t-1": 0.5, "t-2": 0.9, "t-3": 0.8, "t-4": 0.1}, "loss", ["t-1", "t-4"]),
        ({"t-1": 0.5, "t-2": 0.9, "t-3": 0.8}, "accuracy", ["t-2", "t-3"]),
        ({"t-1": None, "t-2": None, "t-3": 0.8, "t-4": None}, "accuracy", ["t-3"]),
        ({"t-1": None, "t-2": None}, "accuracy", []),
    ],
)
def test_the_best_half_goes_on_and_the_others_lose_their_checkpoints(tmp_path, scores, metric, best):
    folders = {name: [str(tmp_path / "scratch" / name)] for name in scores}
    for (folder,) in folders.values():
        Path(folder).mkdir(parents=True)
    trials = made(tmp_path, {0.25: scores}, metric)
    job = {"params": {"trials": trials, "expected": expected(trials), "factor": 2, "checkpoints": folders}}
    job["output"] = {"promoted": str(tmp_path / "rung-0.25.json")}
    job["wildcards"] = {"task": "math" if metric == "loss" else "glue"}
    promote.main(job)
    assert files.read_json(tmp_path / "rung-0.25.json") == {"trials": best}
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == best


@pytest.fixture
def collected(tmp_path) -> Path:
    """Write the table of four trials, of which two were trained to the end, one of them in vain."""
    scores = {0.25: {"t-1": 0.5, "t-2": 0.99, "t-3": 0.8, "t-4": 0.1}, tuning.END: {"t-2": None, "t-3": 0.9}}
    trials = made(tmp_path, scores)
    return collect(tmp_path, trials, choices(tmp_path, trials))


def test_the_choice_is_between_the_trials_trained_to_the_end(collected):
    table = run_statistics.read_csv(collected)
    assert list(table["rung"]) == ["0.25"] * 4 + ["1"] * 2
    assert list(table["chosen"]) == ["false"] * 5 + ["true"]
    notes = tuning_results.notes("glue", table, {"hra/r8": "HRA"})
    assert "in 4 trials with 1 seed" in notes[0]
    assert "the best went on at each rung (4 for 0.25, 2 for 1 of the training)" in notes[1]


def test_the_figure_marks_the_trials_that_ended_early(collected):
    trials = run_statistics.read_csv(collected)
    trials = trials.assign(run="hra/r8", score=[float(score or "nan") for score in trials["score"]])
    params = {"task": "glue", "labels": {"hra/r8": "HRA"}, "colours": {"hra": "#D55E00"}}
    figure = tuning_figure.figure_of(trials, params)
    (ax,) = figure.axes
    hollow = [line for line in ax.get_lines() if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[1, 4]]
    assert "Hollow: after a part of the training" in figure.get_supxlabel()
    assert "without a score: 1 diverged" in figure.get_supxlabel()


# The config


def test_the_runs_of_a_rung_are_those_promoted_to_it(here):
    task = Glue(tuned_config(halving={"rungs": [0.25], "factor": 2}))
    first = ["r8@learning_rate-0.001", "r8@learning_rate-0.002"]

    def runs() -> list[tuple[str, float]]:
        return [(one["trial"], one["rung"]) for one in tuned_runs.trials(task, "cola", "hra/r8")]

    assert runs() == [(trial, 0.25) for trial in first]
    here("results/tune/glue/cola/hra/r8/rung-0.25.json", {"trials": first[1:]})
    assert runs() == [*((trial, 0.25) for trial in first), (first[1], 1.0)]
    whole, part = (task.training.hyperparameters("cola", f"hra/{tuning.up_to(first[1], rung)}") for rung in (1.0, 0.25))
    assert part == whole | {"rung": 0.25}


def test_the_plan_counts_what_a_trial_adds_to_its_rung():
    halved, whole = (Glue(tuned_config(halving=chosen)) for chosen in ({"rungs": [0.25], "factor": 2}, None))

    def work(task: Glue, rung: float) -> float:
        names = {"dataset": "cola", "method": "hra", "variant": tuning.up_to("r8@learning_rate-0.002", rung)}
        return task.cost.training_work(task.data.entry("cola"), names)

    assert work(halved, 0.25) == pytest.approx(work(whole, 1.0) / 4)
    assert work(halved, 1.0) == pytest.approx(work(whole, 1.0) * 3 / 4)


@pytest.mark.parametrize(
    ("halving", "message"),
    [
        (
            {"rungs": [0.5, 0.25], "factor": 2},
            r"expected increasing fractions of the training, found \[0.5, 0.25\]",
        ),
        ({"rungs": [0.25, 0.5], "factor": 2}, "one trial is left before rung 0.5, which decides nothing. Remove it"),
        ({"rungs": [1.0], "factor": 2}, "halving.rungs.0: 1.0 is greater than or equal to the maximum of 1"),
        ({"rungs": [0.5], "factor": 1}, "halving.factor: 1 is less than the minimum of 2"),
        ({"rungs": [], "factor": 2}, "halving.rungs: "),
        ({"factor": 2}, "halving: 'rungs' is a required property"),
    ],
)
def test_wrong_rungs_stop_the_dry_run(halving, message):
    with pytest.raises(JobError, match=message):
        validation.check(tuned_config(halving=halving))
