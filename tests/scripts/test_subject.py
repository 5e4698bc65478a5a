"""Training on a subject: save and load of every method, with one and two processes."""

import os
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.subject.items import items, key
from hra_workflow.tasks.subject.task import snapshot_steps
from rule_jobs import train
from saved_states import check_restored
from subjects import drawn, pixels, unet_method


@pytest.mark.parametrize("kind", ["hra", "full"])
def test_every_method_learns_and_each_saved_epoch_is_another_model(make_subject_run, kind):
    run = make_subject_run(unet_method(kind))
    record = train(run)
    assert record["steps"] == 5 and record["score"] == "loss" and len(record["curve"]) == 5
    assert record["adapter_parameters"] == record["trainable_parameters"] > 0
    assert sorted(os.listdir(run.train["output"]["steps"])) == ["2", "4"]
    check_restored(run.train)
    made = drawn(run)
    assert [picture.key for picture in made] == [key(item) for item in items([2, 4, 5], 3, 2)]
    by_step = {step: [pixels(one) for one in made if one.about["step"] == step] for step in (2, 4, 5)}
    assert abs(by_step[2][0] - by_step[5][0]).max() > 0
    assert [one.about["seed"] for one in made[:6]] == [one.about["seed"] for one in made[6:12]]


def test_an_epoch_whose_weights_are_gone_is_not_sampled_with_others(make_subject_run):
    import generate_subject

    run = make_subject_run(unet_method())
    train(run)
    (run.folder / "run/steps/2/adapter_model.safetensors").unlink()
    with pytest.raises(JobError, match=r"steps/2/.*expected the weights after step 2 of 5. Delete .*train.json"):
        generate_subject.main(run.generate())


def test_accumulated_steps_are_those_of_the_whole_batch(make_subject_run):
    whole, parts = make_subject_run(unet_method()), make_subject_run(unet_method(), "parts", gradient_accumulation=2)
    first, second = ([entry["metrics"]["loss"] for entry in train(run)["curve"]] for run in (whole, parts))
    assert first == pytest.approx(second, rel=1e-3)
    for name, weight in load_file(whole.weights["last"]).items():
        assert torch.allclose(weight, load_file(parts.weights["last"])[name], atol=2e-4), name


@pytest.mark.parametrize(("last", "steps"), [(4, [2, 4]), (5, [2, 4, 5])])
def test_the_weights_at_the_end_of_every_epoch_are_saved_once(last, steps):
    settings = {"max_steps": last, "epoch_steps": 2, "keep_epochs": "all"}
    assert snapshot_steps(settings) == steps and snapshot_steps(settings | {"keep_epochs": "last"}) == [last]


def test_the_loss_on_class_images_is_weighted():
    from hra_workflow.tasks.subject import dreambooth

    trainer = SimpleNamespace(
        settings={"prior_weight": 0.5}, conditions={}, errors=lambda parts, _: torch.tensor(parts)
    )
    assert dreambooth.Trainer.loss(trainer, [[1.0, 3.0], [2.0, 5.0]]) == 1.5 + 0.5 * 4


def test_half_precision_trains_and_draws(make_subject_run):
    run = make_subject_run(unet_method(), precision="bf16")
    assert train(run)["hyperparameters"]["precision"] == "bf16"
    assert len(drawn(run, steps=[5], precision="bf16")) == 6
