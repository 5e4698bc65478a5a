"""Killed training runs of diffusion models end with the numbers of undisturbed ones.

A killed classifier is in test_glue_interruptions.py.
"""

from pathlib import Path

import pytest

from controlled import unet_method as control_method
from hra_workflow.training import diffusion_trainer
from rule_jobs import train
from saved_states import check_restored, check_same, kill_after
from subjects import unet_method

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_accelerator")]


@pytest.mark.parametrize(
    ("make", "method", "settings"),
    [
        ("make_subject_run", unet_method(), {"max_steps": 7}),
        ("make_control_run", control_method(), {"epochs": 4}),
    ],
    ids=["subject", "control"],
)
def test_a_killed_training_ends_with_the_same_numbers(request, monkeypatch, make, method, settings):
    monkeypatch.setattr(diffusion_trainer, "POINTS", 2)  # of several steps: the checkpoint is inside of one
    calm, run = (request.getfixturevalue(make)(method, name, **settings) for name in ("calm", "killed"))
    kill_after(3, run)
    record, expected = train(run), train(calm)
    assert record["resumed_from"] == [3, 3] and len(record["curve"]) > 1
    same = {name: expected[name] for name in ("attempts", "resumed_from")}
    check_same(record | same, written(run), expected, written(calm))
    check_restored(run.train)


def written(run) -> dict[str, Path]:
    """Return the weights after the last step and of every kept epoch."""
    folder = run.folder / "run"
    return {str(path.relative_to(folder)): path for path in folder.rglob("*.safetensors")}
