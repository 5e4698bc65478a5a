"""Training a language model: batches of similar length."""

import statistics

import torch

from hra_workflow.training.length_windows import LengthWindows


def order(sampler: LengthWindows, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_batches_have_similar_lengths_in_random_order():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(50, 500, (5003,), generator=generator).tolist()
    sampler = LengthWindows(lengths, 8, seed=3)
    found = order(sampler, 0)
    assert sorted(found) == list(range(len(lengths))) and len(sampler) == len(lengths)
    assert found != order(sampler, 1) != order(LengthWindows(lengths, 8, seed=4), 1)
    assert found == order(LengthWindows(lengths, 8, seed=3), 0)
    assert order(sampler, 1) != order(LengthWindows(lengths, 8, seed=4), 0)  # epochs and seeds are not added

    def batches(rows: list[int]) -> list[list[int]]:
        return [[lengths[row] for row in rows[first : first + 8]] for first in range(0, 5000, 8)]

    def padding(some: list[list[int]]) -> float:
        return 1 - sum(map(sum, some)) / sum(8 * max(batch) for batch in some)

    assert padding(batches(found)) < 0.03 < 0.3 < padding(batches(list(range(5003))))
    # No sawtooth: neighbouring batches are as unlike as any two. Sorted windows have a correlation near 1.
    means = [statistics.mean(batch) for batch in batches(found)]
    assert abs(statistics.correlation(means[:-1], means[1:])) < 0.1
