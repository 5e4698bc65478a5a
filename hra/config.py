"""PEFT's configuration of HRA with options that PEFT's class lacks."""

import math
from dataclasses import dataclass, field
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

# `peft_type` in the file of an adapter with `two_sided`: PEFT alone would load it as another model. For a type that it
# lacks, PEFT raises KeyError(type) and shows nothing else of the files, so the type is the message. Files contain this
# text, with a DoRA that only magnitudes needed: do not change it. hra is not on PyPI, so it has no `pip install`.
EXTENDED = (
    "HRA_EXTENDED: PEFT loads this adapter only with the Python package hra (newer than 0.2.0). Install it, then run "
    "`import hra; hra.install()` first. Or export a LoRA or DoRA for PEFT without it: `hra to-lora ADAPTER OUT`"
)
EXTENDED_TYPES = (EXTENDED, "HRA_EXTENDED")  # the second in files of 0.2.0
SCALE = 1 / 128


@dataclass
class HRAConfig(peft.HRAConfig):
    """`peft.HRAConfig` with adapters of both sides of W.

    two_sided: W' = H_L W H_R with r reflections on each side, so that the adapter has as many parameters as LoRA with
    rank r and is equal to one with rank 2 r.
    init_scale: makes the best learning rate depend less on r. The columns start with entries of standard deviation
    `init_scale` times the number of a layer's reflections (r, or 2 r with `two_sided`), instead of PEFT's √(2 / (3 r)).
    H does not depend on their lengths, but a step of an optimizer such as Adam turns shorter columns further: with a
    rate η, all reflections of a layer together by 2 η / `init_scale` radians (docs/mathematics.md, "One learning rate
    for all ranks"). None: PEFT's start; with `two_sided` 1/128, for which rates are like LoRA's.

    Raises ValueError if `two_sided` is neither True nor False, if `init_scale` is not positive, and for `magnitudes`
    and `target_parameters`, which only version 0.2.0 has; RuntimeError for `two_sided` before `hra.install()`.

    After `hra.install()`, an adapter file with these options loads as this class. PEFT without `hra.install()` refuses
    a file, and a configuration, with `two_sided`: it raises a KeyError with their `peft_type`, which begins with
    "HRA_EXTENDED" and explains what to do.
    """

    two_sided: bool = field(default=False, metadata={"help": "Reflections on the output side of W, too."})
    init_scale: float | None = field(
        default=None, metadata={"help": "Standard deviation of the columns' entries at the start, per reflection."}
    )
    magnitudes: bool = field(default=False, metadata={"help": "Only of adapters that hra 0.2.0 has written; refused."})
    target_parameters: list[str] | None = field(
        default=None, metadata={"help": "Only of adapters that hra 0.2.0 has written; refused."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.two_sided) is not bool:
            raise ValueError(f"HRAConfig: expected `two_sided` to be True or False, found {self.two_sided!r}.")
        if self.magnitudes:
            raise ValueError(
                "HRAConfig: expected no `magnitudes`, which this version does not have. Use hra 0.2.0, the last "
                'version that has them; for it, set the `peft_type` in an adapter\'s file to "HRA_EXTENDED".'
            )
        if self.two_sided:
            self._check_installed()
        number = isinstance(self.init_scale, int | float) and not isinstance(self.init_scale, bool)
        if self.init_scale is not None and not (number and 0 < self.init_scale < math.inf):
            raise ValueError(f"HRAConfig: expected a positive number as `init_scale`, found {self.init_scale!r}.")
        if self.target_parameters:
            raise ValueError(
                "HRAConfig: expected adapters of layers, found `target_parameters` (stacked experts). Use hra 0.2.0, "
                "the last version that adapts parameters."
            )

    @property  # type: ignore[misc] # PEFT has a field of this name
    def peft_type(self) -> Any:
        """Return PEFT's type of HRA; with `two_sided`, while its layers are not installed, one that PEFT lacks.

        PEFT looks up its own layers by this type. They would ignore the option.
        """
        is_missing = self.two_sided and EXTENDED not in PEFT_TYPE_TO_CONFIG_MAPPING
        return EXTENDED if is_missing else self.__dict__["peft_type"]

    @peft_type.setter
    def peft_type(self, value: Any) -> None:
        self.__dict__["peft_type"] = value

    @property
    def start_deviation(self) -> float | None:
        """Return the standard deviation of the columns' entries at the start; None: PEFT's."""
        scale = SCALE if self.init_scale is None and self.two_sided else self.init_scale
        return None if scale is None else scale * self.r * (2 if self.two_sided else 1)

    def _check_installed(self) -> None:
        if EXTENDED not in PEFT_TYPE_TO_CONFIG_MAPPING:
            raise RuntimeError(
                "HRAConfig with `two_sided`: expected the layers of `hra`, found PEFT's, which would ignore this "
                "option. Call `hra.install()` first."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all options; those of this class only if they are set, so that other adapters have PEFT's files."""
        options: dict[str, Any] = super().to_dict()
        for name in ("magnitudes", "target_parameters"):
            options.pop(name)
        for name, default in (("two_sided", False), ("init_scale", None)):
            if options[name] == default:
                options.pop(name)
        return options | ({"peft_type": EXTENDED} if self.two_sided else {})
