"""Evaluation in batches: the results of one image at a time, also for other sizes and too little GPU memory."""

import torch
from PIL import Image

from hra_workflow.evaluators import batches
from test_control_metrics import noise

SIZES = [(16, 8)] * 5 + [(8, 16)] + [(16, 8)] * 2


def test_batches_are_consecutive_images_of_one_size():
    shown = [noise(seed, size) for seed, size in enumerate(SIZES)]
    asked = []

    def work(images):
        asked.append(len(images))
        assert len({image.size for image in images}) == 1
        return (image.tobytes() for image in images)

    assert list(batches.results(work, iter(shown), 3)) == [image.tobytes() for image in shown]
    assert asked == [3, 2, 1, 2] and list(batches.results(work, [], 3)) == []


def test_batches_are_for_gpus():
    assert (batches.size("cpu", 8), batches.size("cuda", 8)) == (1, 8)


def test_too_little_gpu_memory_halves_the_batch(capsys):
    shown = [Image.new("L", (1, 1), grey) for grey in range(7)]

    def work(images):
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError
        return [image.getpixel((0, 0)) for image in images]

    assert list(batches.results(work, shown, 4)) == list(range(7))
    assert "out of memory with a batch of 4 images; continuing with half of it" in capsys.readouterr().out
