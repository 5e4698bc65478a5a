"""Tests of the installed PEFT for single features, which the version of development code does not tell."""

import dataclasses
from functools import cache
from typing import Any

import peft
import torch
from peft import HRAConfig, PeftConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.hra.layer import HRALayer as PeftHRALayer
from peft.tuners.hra.model import HRAModel as PeftHRAModel
from torch import nn

OPTIONS = {"r", "apply_GS", "init_weights", "bias", "target_modules", "exclude_modules", "layers_to_transform"}
OPTIONS |= {"layers_pattern", "modules_to_save"}
# In `config.HRAConfig`, and perhaps in a later PEFT.
OURS = {"two_sided", "magnitudes", "init_scale", "target_parameters"}
PARAMETERS = {"hra_u", "hra_r", "hra_apply_GS"}


def check_replaceable(model: type[PeftHRAModel]) -> None:
    """Raise RuntimeError unless PEFT has the methods that `model` overrides and the parameters of its layers.

    An override that PEFT does not call would have no effect.
    """
    hooks = {name for name in vars(model) if callable(getattr(model, name)) and not name.startswith("__")}
    # PeftModel's methods call the tuner's methods of the same names.
    lacking = {f"HRAModel.{name}" for name in hooks if not (hasattr(PeftHRAModel, name) or hasattr(PeftModel, name))}
    lacking |= {f"HRAConfig.{name}" for name in OPTIONS - _fields(HRAConfig).keys()}
    parameters = {*PeftHRALayer.adapter_layer_names, *PeftHRALayer.other_param_names}
    lacking |= {f"HRALayer.{name}" for name in PARAMETERS - parameters}
    if lacking:
        raise RuntimeError(
            f"hra.install: expected a PEFT with {', '.join(sorted(lacking))}, found PEFT {peft.__version__} "
            f"({peft.__file__}) without. Install PEFT 0.21.2, or use PEFT's own HRA without `hra.install()`."
        )


def check_options(config: Any) -> None:
    """Raise ValueError if a config sets an option that this package does not have, such as one of a later PEFT."""
    for name, field in _fields(type(config)).items():
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        value = getattr(config, name)
        if name not in OPTIONS | OURS and name not in _fields(PeftConfig) and value != default:
            raise ValueError(
                f"HRA with {name}={value!r}: expected the options {', '.join(sorted(OPTIONS))}, found one of PEFT "
                f"{peft.__version__} that the layers of `hra` do not have. Leave it at {default!r}, or call "
                "`hra.uninstall()` for PEFT's own layers."
            )


@cache
def saves_biases(bias: str) -> bool:
    """Return whether PEFT writes the biases that `HRAConfig(bias=bias)` trains to adapter files."""
    config = HRAConfig(r=2, target_modules=["0"], bias=bias)
    with torch.random.fork_rng(devices=[]):
        model = PeftHRAModel(nn.Sequential(nn.Linear(2, 2)), config, "default")
    return any(key.endswith("bias") for key in get_peft_model_state_dict(model))


def _fields(config: type) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(config)}
