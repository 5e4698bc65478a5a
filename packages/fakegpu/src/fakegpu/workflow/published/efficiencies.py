"""The constants of the rehearsal's clock that fit published times best, and the errors of rehearsed numbers."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from fakegpu import cuda, timing

FITTED = ("half", "float32")  # the kinds of products in these experiments
OUTLIER = 0.08  # relative error above which an experiment has less weight


class Constants(NamedTuple):
    """Microseconds of the host and of the device per kernel, and the efficiency of products of each kind in FITTED."""

    launch: float
    kernel: float
    half: float
    float32: float


CHOSEN = Constants(
    timing.LAUNCH_SECONDS * 1e6, timing.KERNEL_SECONDS * 1e6, *(timing.EFFICIENCY[kind] for kind in FITTED)
)


def seconds(kernels: Sequence[list], speed: timing.Speed, constants: Sequence[float]) -> float:
    """Estimate a step from its kernels: kind, floating-point operations, bytes moved, bytes used, count."""
    launch, start, *efficiency = constants
    rates = dict(timing.EFFICIENCY) | dict(zip(FITTED, efficiency, strict=True))
    peaks = np.array([rates[kind] * getattr(speed, kind.partition(" ")[0]) for kind, *_ in kernels])
    flops, moved, used, count = np.array([numbers for _, *numbers in kernels], float).T
    work = np.maximum(np.maximum(flops / peaks, moved / speed.memory), used / speed.cache)
    host, device = launch * 1e-6 * count.sum(), (count * (work + start * 1e-6)).sum()
    return max(host, device)


def fitted(experiments: Sequence[dict]) -> Constants:
    """Return the constants with the least error on experiments: `kernels`, `card`, and `published` seconds."""

    def errors(constants) -> list[float]:
        return [
            math.log(seconds(one["kernels"], cuda.CARDS[one["card"]].speed, constants) / one["published"])
            for one in experiments
        ]

    bounds = Constants(1, 0, 0.1, 0.1), Constants(60, 8, 1, 1)  # a kernel of no work takes 8 µs at most
    start = [(low + high) / 2 for low, high in zip(*bounds, strict=True)]
    return Constants(*least_squares(errors, start, bounds=bounds, loss="soft_l1", f_scale=OUTLIER).x)


class Error(NamedTuple):
    """Errors of rehearsed numbers: mean and root mean square of log(rehearsed / published), and rank correlation."""

    count: int
    bias: float
    rms: float
    spearman: float


def error(rehearsed: Sequence[float], published: Sequence[float]) -> Error:
    logs = np.log(np.asarray(rehearsed) / np.asarray(published))
    return Error(len(logs), logs.mean(), math.sqrt((logs**2).mean()), spearmanr(rehearsed, published).statistic)
