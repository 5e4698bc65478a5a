"""Experiment trackers get the curves of the records, once, also of a training that was killed and resumed.

A classifier that is killed for real is in test_glue_interruptions.py.
"""

import time

import pytest

from control_jobs import ControlRun, prepared
from controlled import unet_method as control_method
from hra_workflow.training import diffusion_trainer, trackers
from rule_jobs import train
from saved_states import kill_after
from subjects import unet_method
from sums import math_method
from tracked import FILES, check_curve, in_events, in_mlflow, in_tensorboard, report, tensorboard

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture
def make_control_run(tmp_path, tmp_path_factory):
    def make(method: dict, **settings) -> ControlRun:
        run = ControlRun(tmp_path / "run", prepared(tmp_path_factory.mktemp("control")), method, **settings)
        run.start()
        return run

    return make


@pytest.mark.parametrize(
    ("maker", "method", "settings"),
    [
        ("make_math_run", math_method("hra"), {}),
        ("make_subject_run", unet_method(), {"max_steps": 7}),
        ("make_control_run", control_method(), {"epochs": 4}),
    ],
    ids=["math", "subject", "control"],
)
def test_a_resumed_training_has_one_curve(request, monkeypatch, maker, method, settings):
    monkeypatch.setattr(diffusion_trainer, "POINTS", 2)  # of several steps: the checkpoint is inside of one
    run = request.getfixturevalue(maker)(method, **settings)
    report(run, *FILES)
    kill_after(3, run)
    record = train(run)
    assert record["resumed_from"][-1] == 3 and len(record["curve"]) > 1
    check_curve(run, "train/loss")


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


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_other_trackers_work_offline(make_math_run, capsys, name):
    """Check what can be read without their own tools; they are not in the dependency group `dev`."""
    run = make_math_run(math_method("hra"))
    report(run, name)
    kill_after(3, run)
    train(run)
    assert "warning: " not in capsys.readouterr().out
    written = {"wandb": "wandb/offline-run-*/*.wandb", "trackio": "trackio/*.db"}
    assert list((run.folder / "trackers").glob(written[name]))
