"""What DreamBooth trains on: the order of images within epochs, and the prompt of each."""

from collections import Counter

import pytest
import torch
from PIL import Image

import train_subject
from hra_workflow.core import manifests
from hra_workflow.models import diffusion
from hra_workflow.tasks.subject import dreambooth
from subjects import unet_method

SIDE = 8


def plain(first: int, number: int) -> list[Image.Image]:
    """Return images of one colour each, by which their crops are recognised."""
    return [Image.new("RGB", (SIDE, SIDE), (grey, grey, grey)) for grey in range(first, first + number)]


def shown(part: dict) -> int:
    return round((part["pixels"].mean().item() + 1) * 127.5)


@pytest.mark.parametrize(("subject", "of_class"), [(3, 12), (12, 3), (4, 0)])
def test_an_epoch_uses_every_image_equally_often_and_the_next_one_in_another_order(subject, of_class):
    samples = dreambooth.Samples(plain(0, subject), plain(100, of_class), SIDE, seed=0)
    length, starts = max(subject, of_class), range(0, 3 * max(subject, of_class), max(subject, of_class))
    orders = [[shown(part) for n in range(start, start + length) for part in samples[n]] for start in starts]
    times = dict.fromkeys(range(subject), length // subject)
    times |= {100 + number: length // of_class for number in range(of_class)}
    assert all(Counter(order) == times for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_images_of_the_class_have_the_last_prompt():
    samples = dreambooth.Samples(plain(0, 3), plain(100, 6), SIDE, seed=0, prompts=[0, 1, 0])
    used = {shown(part): part["prompt"] for n in range(6) for part in samples[n]}
    assert used == {0: 0, 1: 1, 2: 0} | dict.fromkeys(range(100, 106), 2)


class Begun(Exception):
    """Ends a training before its first step."""


def test_each_image_is_trained_on_with_the_words_for_it(make_subject_run, monkeypatch):
    run = make_subject_run(unet_method())

    def begin(job, model, architecture, samples, conditions, *_):
        raise Begun(samples, conditions)

    monkeypatch.setattr(dreambooth, "Trainer", begin)
    with pytest.raises(Begun) as begun:
        train_subject.main(run.train)
    samples, conditions = begun.value.args
    architecture = diffusion.architecture_in(manifests.folder(run.tiny["model"]))
    for part, words in zip(samples[0], ("instance", "class"), strict=True):
        expected = architecture.embeddings([run.train["params"]["prompts"][words]], "float32", "cpu")
        for name, value in expected.items():
            torch.testing.assert_close(conditions[name][part["prompt"]], value[0])
