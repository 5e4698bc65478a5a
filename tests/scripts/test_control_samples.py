"""Samples of training on control images: order, dropped prompts, invalid images."""

import torch

from controlled import SIDE, rows
from hra_workflow.tasks.control import training as control_training


def test_samples_are_a_shuffle_of_the_rows_in_every_epoch():
    data = [(image, str(place), hint) for place, (image, _, hint) in enumerate(rows(6))]
    samples = control_training.Samples(data, seed=0)
    epochs = [[samples[n]["prompt"] for n in range(6 * epoch, 6 * epoch + 6)] for epoch in range(3)]
    assert all(sorted(epoch) == list("012345") for epoch in epochs) and len({tuple(one) for one in epochs}) == 3
    assert [control_training.Samples(data, 0, shuffle=False)[n]["prompt"] for n in range(6)] == list("012345")
    again = control_training.Samples(data, seed=0)[7]
    assert torch.equal(again["hint"], samples[7]["hint"]) and again["prompt"] == samples[7]["prompt"]
    assert samples[0]["pixels"].shape == (3, SIDE, SIDE)
    assert (samples[0]["hint"].unique() == torch.tensor([0.0, 1.0])).all() and samples[0]["pixels"].min() == -1


def test_an_epoch_has_a_step_for_its_last_rows():
    settings = {"batch_size": 2, "gradient_accumulation": 1, "epochs": 3}
    assert control_training.schedule(settings, 5) == settings | {"epoch_steps": 3, "max_steps": 9}


def test_prompts_are_dropped_at_the_given_rate():
    samples = control_training.Samples(rows(1), seed=0, prompt_dropout=0.3)
    dropped = sum(samples[n]["prompt"] == "" for n in range(400))
    assert abs(dropped - 120) < 4 * (400 * 0.3 * 0.7) ** 0.5
