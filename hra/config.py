"""PEFT's configuration of HRA with an option for stacked experts, which PEFT's class lacks."""

from dataclasses import dataclass, field
from typing import Any

import peft


@dataclass
class HRAConfig(peft.HRAConfig):
    """`peft.HRAConfig` with `peft.LoraConfig`'s option to adapt parameters that are not the weight of a layer.

    target_parameters: the ends of parameters' paths, such as `["experts.gate_up_proj", "experts.down_proj"]` for the
    stacked experts of mixture-of-experts models. Raises TypeError if it is not a list of names, ValueError together
    with `layers_to_transform`, which does not select among parameters.

    After `hra.install()`, an adapter file with `target_parameters` loads as this class. PEFT without `hra.install()`
    warns that it ignores the option, and does not load these parts of the adapter.
    """

    target_parameters: list[str] | None = field(
        default=None, metadata={"help": "Names of parameters to adapt, such as stacked experts."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_parameters is None:
            return
        if isinstance(self.target_parameters, str) or not all(isinstance(one, str) for one in self.target_parameters):
            raise TypeError(
                f"HRAConfig: expected `target_parameters` to be a list of names, found {self.target_parameters!r}."
            )
        self.target_parameters = sorted(set(self.target_parameters))
        if self.target_parameters and self.layers_to_transform is not None:
            raise ValueError(
                "HRAConfig: `layers_to_transform` does not select among `target_parameters`. Name the parameters in "
                'full instead, for example "layers.0.mlp.experts.down_proj".'
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all options; if `target_parameters` is None, only those of `peft.HRAConfig`, for its adapter files."""
        options: dict[str, Any] = super().to_dict()
        if self.target_parameters is None:
            options.pop("target_parameters")
        return options
