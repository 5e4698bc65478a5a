"""The estimated time of a run: of the host, which queues kernels, and of the GPU, which runs them.

A kernel takes the longest of its floating-point operations at the card's rate, the bytes that it moves to and from
memory, and all bytes that it reads and writes, which the card's cache (L2) may hold. The constants were chosen by
`python -m fakegpu.workflow.published` on half of PEFT's published experiments; gpus.md has the error on the other half.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

LAUNCH_SECONDS = 28e-6  # host time per kernel: Python, torch's dispatcher and autograd
KERNEL_SECONDS = 8e-6  # GPU time per kernel in addition to its work: its start and end, when few cores are busy
# Fractions of a card's fastest products. Convolutions of a UNet are small for the card, and change the layout.
EFFICIENCY = {
    "half": 0.72,
    "half convolution": 0.35,
    "tf32": 0.72,
    "tf32 convolution": 0.32,
    "float32": 0.78,
    "float64": 0.78,
}


class Speed(NamedTuple):
    """Floating-point operations per second of the fastest products, by precision; bytes per second of memory and cache.

    `cache_bytes`: the size of the cache.
    """

    half: float
    tf32: float
    float32: float
    float64: float
    memory: float
    cache: float
    cache_bytes: float


class Cache:
    """The contents of a card's cache: the last used storages. A changed one is written to memory when it leaves."""

    def __init__(self, size: float):
        self.free = size
        self.held: OrderedDict[Any, tuple[int, bool]] = OrderedDict()  # storage -> its bytes, whether it was changed

    def move(self, used: Iterable[tuple[Any, int, bool]]) -> int:
        """Return the bytes to and from memory for `used`: storages, their bytes, and whether they are written."""
        moved = 0
        for storage, size, written in used:
            before, changed = self.held.get(storage, (0, False))
            self.drop(storage)
            if not written and not before:
                moved += size
            self.held[storage] = size, written or changed
            self.free -= size
            while self.free < 0:
                oldest = next(iter(self.held))
                moved += self.held[oldest][0] if self.held[oldest][1] else 0
                self.drop(oldest)
        return moved

    def drop(self, storage: Any) -> None:
        """Remove a freed storage, whose content need not be written."""
        self.free += self.held.pop(storage, (0, False))[0]


class Clock:
    """Seconds so far. `host`: until it has queued all kernels; `device`: until they have run; `busy`: of their work."""

    def __init__(self, speed: Speed):
        self.speed = speed
        self.host = self.device = self.busy = 0.0

    def __call__(self) -> float:
        """Return the time at which everything queued so far has run."""
        return max(self.host, self.device)

    def wait(self) -> None:
        self.host = self()

    def advance(self, seconds: float) -> None:
        """Let time pass, for work that is not run."""
        self.host = self.device = self() + seconds

    def run(self, kind: str, flops: float, moved: float, used: float) -> None:
        """Queue a kernel.

        `kind`: a key of EFFICIENCY. `moved`: bytes to and from memory. `used`: all bytes that it reads and writes.
        """
        speed = self.speed
        products = flops / (EFFICIENCY[kind] * getattr(speed, kind.partition(" ")[0]))
        seconds = KERNEL_SECONDS + max(products, moved / speed.memory, used / speed.cache)
        self.host += LAUNCH_SECONDS
        self.device = self() + seconds
        self.busy += seconds
