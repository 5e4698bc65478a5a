"""Samples of training on control images: order, dropped prompts, invalid images."""

import pytest
import torch

from controlled import SIDE, rows
from hra_workflow.core.errors import JobError
from hra_workflow.tasks.control import training as control_training


def test_samples_are_a_shuffle_of_the_rows_in_every_epoch():
    data = [(image, str(place), hint) for place, (image, _, hint) in enumerate(rows(6))]
    samples = control_training.Samples(data, SIDE, seed=0)
    epochs = [[samples[n]["prompt"] for n in range(6 * epoch, 6 * epoch + 6)] for epoch in range(3)]
    assert all(sorted(epoch) == list("012345") for epoch in epochs) and len({tuple(one) for one in epochs}) == 3
    assert [control_training.Samples(data, SIDE, 0, shuffle=False)[n]["prompt"] for n in range(6)] == list("012345")
    again = control_training.Samples(data, SIDE, seed=0)[7]
    assert torch.equal(again["hint"], samples[7]["hint"]) and again["prompt"] == samples[7]["prompt"]
    assert samples[0]["pixels"].shape == (3, SIDE, SIDE)
    assert (samples[0]["hint"].unique() == torch.tensor([0.0, 1.0])).all() and samples[0]["pixels"].min() == -1


def test_an_epoch_has_a_step_for_its_last_rows():
    settings = {"batch_size": 2, "gradient_accumulation": 1, "epochs": 3}
    assert control_training.schedule(settings, 5) == settings | {"epoch_steps": 3, "max_steps": 9}


def test_prompts_are_dropped_at_the_given_rate():
    samples = control_training.Samples(rows(1), SIDE, seed=0, prompt_dropout=0.3)
    dropped = sum(samples[n]["prompt"] == "" for n in range(400))
    assert abs(dropped - 120) < 4 * (400 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize("broken", ["size", "mode"])
def test_pictures_of_another_size_or_mode_are_refused(broken):
    image, prompt, hint = rows(1)[0]
    hint = hint.resize((32, 64)) if broken == "size" else hint.convert("L")
    with pytest.raises(
        JobError, match=r"row 0: the hint: expected RGB of 64 × 64 pixels, found (RGB of 32 × 64|L of 64 × 64)"
    ):
        control_training.Samples([(image, prompt, hint)], SIDE, seed=0)[0]


def test_no_rows_are_refused():
    with pytest.raises(JobError, match="expected rows to train on"):
        control_training.Samples([], SIDE, seed=0)
