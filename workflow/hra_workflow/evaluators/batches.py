"""Batches of images for the evaluators' networks."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice

from hra_workflow.models import memory


def results(work: Callable[[list], Iterable], images: Iterable, size: int) -> Iterator:
    """Iterate over the results of `work`, one per image and in order, on batches of up to `size` images.

    The images of a batch are consecutive and have the same width and height. A batch is halved if it does not fit into
    the GPU's memory.
    """
    for _, alike in groupby(images, key=lambda image: image.size):
        while batch := list(islice(alike, size)):
            yield from memory.split_on_oom(lambda part: list(work(part)), batch, "images")


def size(device: str, on_gpu: int) -> int:
    """Return the number of images at a time: larger batches are no faster on a CPU."""
    return 1 if device == "cpu" else on_gpu
