"""Experiment trackers get the curve of a training, of transformers' Trainer and of the diffusion tasks."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hra_workflow.core import made_from
from rule_jobs import train
from saved_states import kill_after
from subjects import unet_method
from sums import math_method

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.mark.parametrize(
    ("make", "method", "settings"),
    [("make_math_run", math_method("hra"), {}), ("make_subject_run", unet_method(), {"max_steps": 7})],
    ids=["math", "subject"],
)
def test_a_tracker_has_the_points_of_the_record(request, make, method, settings):
    run = request.getfixturevalue(make)(method, **settings)
    run.report_to = ("tensorboard",)
    kill_after(3, run)
    record = train(run)
    assert record["resumed_from"]
    folder = Path(
        run.folder, "trackers/tensorboard", *(run.train["wildcards"][key] for key in made_from.RUN[:-1]), "seed0"
    )
    points = {point.step: point.value for point in EventAccumulator(str(folder)).Reload().Scalars("train/loss")}
    assert points == {point["step"]: pytest.approx(point["metrics"]["loss"], rel=1e-6) for point in record["curve"]}
