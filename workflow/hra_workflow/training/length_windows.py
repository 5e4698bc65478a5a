"""The order of rows in an epoch: windows of rows, and within each, micro-batches of rows of similar length.

The micro-batches are in random order (`shuffled`) or from long to short, and the windows contain rows in random or in
file order. transformers' group_by_length also orders each window from long to short, so that the loss depends on the
position in it.
"""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

BATCHES = 64  # micro-batches per window of `shuffled`


class LengthWindows(Sampler):
    """Rows in windows of `batches` × `batch` rows.

    mixed: micro-batches of similar length in random order within a window, instead of from long to short. shuffle: the
    windows are of random rows, instead of consecutive ones. The order is a function of seed and epoch, so that a
    resumed run sees the same rows.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch: int,
        seed: int,
        batches: int = BATCHES,
        mixed: bool = True,
        shuffle: bool = True,
    ):
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0
        self.batches, self.mixed, self.shuffle = batches, mixed, shuffle

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)

        def shuffled(count: int) -> list[int]:
            return torch.randperm(count, generator=generator).tolist()

        rows = shuffled(len(self.lengths)) if self.shuffle else range(len(self.lengths))
        for first in range(0, len(rows), self.batches * self.batch):
            window = rows[first : first + self.batches * self.batch]
            if not self.mixed:
                yield from sorted(window, key=self.lengths.__getitem__, reverse=True)
                continue
            window = sorted(window, key=self.lengths.__getitem__)
            whole = len(window) // self.batch
            cut = [window[index * self.batch : (index + 1) * self.batch] for index in range(whole)]
            for index in shuffled(whole):
                yield from cut[index]
            yield from window[whole * self.batch :]  # the longest rows of the last window


def order(settings: dict, rows: Sequence[Sequence[int]], batch: int, seed: int) -> Sampler | None:
    """Return the order that the hyper-parameters request for rows of token IDs; None: the Trainer's order.

    batch: the rows of a micro-batch.
    """
    grouped, shuffle = settings.get("group_by_length", False), settings.get("shuffle", True)
    if grouped is False and not shuffle:
        return torch.utils.data.SequentialSampler(rows)
    if isinstance(grouped, bool):
        return None
    lengths = [len(ids) for ids in rows]
    if grouped == "shuffled":
        return LengthWindows(lengths, batch, seed)
    return LengthWindows(lengths, batch, seed, grouped, mixed=False, shuffle=shuffle)
