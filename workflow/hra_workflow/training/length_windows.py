"""An epoch's order of rows in which a micro-batch has rows of similar length, and the micro-batches a random order.

transformers' group_by_length orders each window from long to short, so that the loss follows the length.
"""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

BATCHES = 64  # micro-batches per window


class LengthWindows(Sampler):
    """Rows in windows of BATCHES × `batch` random rows; within each, batches of similar length in random order.

    The order is a function of seed and epoch, so that a resumed run sees the same rows.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int):
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)

        def shuffled(count: int) -> list[int]:
            return torch.randperm(count, generator=generator).tolist()

        rows = shuffled(len(self.lengths))
        for first in range(0, len(rows), BATCHES * self.batch):
            window = sorted(rows[first : first + BATCHES * self.batch], key=self.lengths.__getitem__)
            whole = len(window) // self.batch
            cut = [window[index * self.batch : (index + 1) * self.batch] for index in range(whole)]
            for index in shuffled(whole):
                yield from cut[index]
            yield from window[whole * self.batch :]  # the longest of the last window
