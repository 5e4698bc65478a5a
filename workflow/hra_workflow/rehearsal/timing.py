"""The estimated time of what a rehearsal runs: of the host, which queues kernels, and of the GPU, which runs them.

A kernel takes the longer of its floating-point operations at the card's peak and of the bytes that it reads and writes
at its bandwidth, each times an efficiency: what such kernels reach as a rule, not a measurement of this workflow.
"""

from typing import NamedTuple

LAUNCH_SECONDS = 10e-6  # of the host per kernel: Python, torch's dispatcher and autograd
MEMORY_EFFICIENCY = 0.75
# By what a kernel computes with. Convolutions of a UNet are small for the card, and change the layout.
EFFICIENCY = {"half": 0.6, "tf32": 0.5, "tf32 convolution": 0.26, "float32": 0.75}


class Speed(NamedTuple):
    """Peak floating-point operations per second (dense) by precision, and bytes per second."""

    half: float
    tf32: float
    float32: float
    memory: float


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

    def run(self, flops: float, kind: str, traffic: float) -> None:
        """Queue a kernel; `kind`: a key of EFFICIENCY."""
        peak = getattr(self.speed, kind.partition(" ")[0])
        seconds = max(flops / (EFFICIENCY[kind] * peak), traffic / (MEMORY_EFFICIENCY * self.speed.memory))
        self.host += LAUNCH_SECONDS
        self.device = self() + seconds
        self.busy += seconds
