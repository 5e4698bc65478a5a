"""PEFT's configuration of HRA with options that PEFT's class lacks."""

import math
from dataclasses import dataclass, field
from typing import Any

import peft

# `peft_type` in the files of adapters with options that left: that of 0.2.0, and a later one, which is a message, since
# PEFT shows only the type in its error.
EXTENDED = (
    "HRA_EXTENDED",
    "HRA_EXTENDED: PEFT loads this adapter only with the Python package hra (newer than 0.2.0). Install it, then run "
    "`import hra; hra.install()` first. Or export a LoRA or DoRA for PEFT without it: `hra to-lora ADAPTER OUT`",
)
LEFT = ("two_sided", "magnitudes", "target_parameters")


@dataclass
class HRAConfig(peft.HRAConfig):
    """`peft.HRAConfig` with a start for which the best learning rate depends less on r.

    init_scale: the columns start with entries of standard deviation `init_scale` times r, instead of PEFT's
    √(2 / (3 r)). H does not depend on their lengths, but a step of an optimizer such as Adam turns shorter columns
    further: with a rate η, all reflections of a layer together by 2 η / `init_scale` radians (docs/mathematics.md, "One
    learning rate for all ranks"). None: PEFT's start.

    Raises ValueError if `init_scale` is not positive, and for `two_sided`, `magnitudes` and `target_parameters`, which
    only version 0.2.0 has. After `hra.install()`, adapter files are read as this class, with the same errors.
    """

    init_scale: float | None = field(
        default=None, metadata={"help": "Standard deviation of the columns' entries at the start, per reflection."}
    )
    two_sided: bool = field(default=False, metadata={"help": "Only of adapters that hra 0.2.0 reads; refused."})
    magnitudes: bool = field(default=False, metadata={"help": "Only of adapters that hra 0.2.0 reads; refused."})
    target_parameters: list[str] | None = field(
        default=None, metadata={"help": "Only of adapters that hra 0.2.0 reads; refused."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if left := [name for name in LEFT if getattr(self, name)]:
            raise ValueError(
                f"HRAConfig: expected none of the options that have left, found `{'`, `'.join(left)}`. Use hra 0.2.0, "
                'the last version that has them; for it, set the `peft_type` in an adapter\'s file to "HRA_EXTENDED".'
            )
        number = isinstance(self.init_scale, int | float) and not isinstance(self.init_scale, bool)
        if self.init_scale is not None and not (number and 0 < self.init_scale < math.inf):
            raise ValueError(f"HRAConfig: expected a positive number as `init_scale`, found {self.init_scale!r}.")

    @property
    def start_deviation(self) -> float | None:
        """Return the standard deviation of the columns' entries at the start; None: PEFT's."""
        return None if self.init_scale is None else self.init_scale * self.r

    def to_dict(self) -> dict[str, Any]:
        """Return all options of PEFT, and `init_scale` if it is set, so that other adapters have PEFT's files."""
        options: dict[str, Any] = super().to_dict()
        for name in LEFT:
            options.pop(name)
        if self.init_scale is None:
            options.pop("init_scale")
        return options
