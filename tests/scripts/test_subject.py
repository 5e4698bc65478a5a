"""Training on a subject, and its images: the same from any shards, generated once, with errors for invalid ones."""

import errno
import os
import re
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import generate_subject
from hra_workflow.core import sharding
from hra_workflow.data import images
from hra_workflow.models import image_shards
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


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_every_batch_is_in_one_shard(count):
    batches = list(range(10))
    assert [one for index in range(count) for one in sharding.part(batches, index, count)] == batches


def test_a_full_disk_keeps_what_is_finished(trained_subject, monkeypatch, capsys):
    """Also for another number of shards."""
    whole = drawn(trained_subject)
    plain, calls = images.pack, []

    def pack(path, *arguments):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(image_shards.images, "pack", pack)
        with pytest.raises(OSError, match="No space left"):
            generate_subject.main(trained_subject.generate())
    capsys.readouterr()
    assert drawn(trained_subject, of=2) == whole
    said = capsys.readouterr().out
    assert re.search("8 images, [24] of them generated now", said) and "10 images, 10 of them generated now, " in said
