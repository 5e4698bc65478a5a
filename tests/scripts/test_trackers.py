"""Killed trainings end with the numbers of undisturbed ones, and experiment trackers get the points of each curve once.

A classifier that is killed for real is in test_glue_interruptions.py.
"""

import time
from pathlib import Path

import pytest

from controlled import unet_method as control_method
from hra_workflow.training import diffusion_trainer, trackers
from rule_jobs import train
from saved_states import check_restored, check_same, kill_after
from subjects import unet_method
from sums import math_method
from tracked import FILES, check_curve, in_events, in_mlflow, in_tensorboard, report, tensorboard

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.mark.parametrize(
    ("make", "method", "settings"),
    [
        ("make_subject_run", unet_method(), {"max_steps": 7}),
        ("make_control_run", control_method(), {"epochs": 4}),
    ],
    ids=["subject", "control"],
)
def test_a_killed_training_ends_with_the_same_numbers_and_one_curve(request, monkeypatch, make, method, settings):
    monkeypatch.setattr(diffusion_trainer, "POINTS", 2)  # of several steps: the checkpoint is inside of one
    calm, run = (request.getfixturevalue(make)(method, name, **settings) for name in ("calm", "killed"))
    report(run, *FILES)
    kill_after(3, run)
    record, expected = train(run), train(calm)
    assert record["resumed_from"] == [3, 3] and len(record["curve"]) > 1
    check_curve(run, "train/loss")
    same = {name: expected[name] for name in ("attempts", "resumed_from")}
    check_same(record | same, written(run), expected, written(calm))
    check_restored(run.train)


def written(run) -> dict[str, Path]:
    """Return the weights after the last step and of every kept epoch."""
    folder = run.folder / "run"
    return {str(path.relative_to(folder)): path for path in folder.rglob("*.safetensors")}


def test_a_training_that_starts_over_replaces_its_curve(make_math_run):
    """Another rate, and fewer steps: TensorBoard hides all earlier points, and MLflow has a second run."""
    run = make_math_run(math_method("hra"))
    report(run, *FILES)
    train(run)
    time.sleep(1)  # files of one process in one second are not ordered
    run.settings |= {"learning_rate": 1e-3, "epochs": 1}
    curve = train(run)["curve"]
    assert [step for step, _ in in_events(tensorboard(run), "train/loss")] == [point["step"] for point in curve]
    assert len(in_mlflow(run)) == 2


def test_a_tracker_that_fails_ends_no_training(make_math_run, monkeypatch, capsys):
    def fail(self, values, step=None, **_):
        if step == 4:
            raise ConnectionError("the server is away")
        log(self, values, step)

    log = trackers.MLflowTracker.log
    monkeypatch.setattr(trackers.MLflowTracker, "log", fail)
    monkeypatch.setattr(trackers.WandBTracker, "start", lambda _: 1 / 0)
    run = make_math_run(math_method("hra"))
    report(run, *FILES)
    run.report_to += ("wandb",)
    record = train(run)
    assert record["steps"] == len(record["curve"]) == len(in_tensorboard(run, "train/loss"))
    assert len(in_mlflow(run)[0]["train/loss"]) == 3
    said = capsys.readouterr().out
    assert said.count("warning: ") == 2
    assert "warning: mlflow gets no more points of this training: ConnectionError: the server is away" in said
