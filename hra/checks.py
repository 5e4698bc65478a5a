"""Checks of the installed libraries, by feature or by version, and warnings of a use without the expected effect."""

import dataclasses
import re
import sys
import warnings
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from typing import Any

import peft
import torch
from peft import HRAConfig, PeftConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.hra.layer import HRALayer as PeftHRALayer
from peft.tuners.hra.model import HRAModel as PeftHRAModel
from torch import nn

from .base_layer import HRALayer
from .config import LEFT

OPTIONS = {"r", "apply_GS", "init_weights", "bias", "target_modules", "exclude_modules", "layers_to_transform"}
OPTIONS |= {"layers_pattern", "modules_to_save"}
OURS = {"init_scale", *LEFT}  # in `config.HRAConfig`, and perhaps in a later PEFT
PARAMETERS = {"hra_u", "hra_r", "hra_apply_GS"}
# The first and the last minor version that the tests run with; LLaMA-Factory has the first of transformers and TRL.
TESTED = {
    "torch": ("2.9", "2.15"),
    "peft": ("0.18", "0.21"),
    "transformers": ("5.6", "5.24"),
    "accelerate": ("1.10", "1.16"),
    "diffusers": ("0.42", "0.42"),
    "trl": ("0.24", "1.16"),
}


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


def check_versions() -> None:
    """Warn if an installed version is outside the tested range."""
    untested = []
    for name, (first, last) in TESTED.items():
        try:
            imported = getattr(sys.modules.get(name), "__version__", None)
            found = str(imported or metadata.version(name))  # which reads a file
        except metadata.PackageNotFoundError:
            continue
        if not _minor(first) <= _minor(found) <= _minor(last):
            untested.append(f"{name} {found} (tested: {first}{f' to {last}' if last != first else ''})")
    if untested:
        _warn(f"hra is not tested with {', '.join(untested)}. Install a tested version if something fails.")


def check_layers(named_modules: Iterable[tuple[str, Any]]) -> None:
    """Warn if some of a model's modules are PEFT's own HRA layers."""
    stock = [path for path, one in named_modules if isinstance(one, PeftHRALayer) and not isinstance(one, HRALayer)]
    if stock:
        more = f" and {len(stock) - 1} more" if len(stock) > 1 else ""
        _warn(
            f"hra: expected this package's layers, found PEFT's own, slower ones in {stock[0]}{more}. Call "
            "`hra.install()` before `get_peft_model`."
        )


def _minor(version: str) -> list[int]:
    """Parse major and minor version: of 2.13.0+cpu 2 and 13, of 0.21.3.dev0 0 and 21."""
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


@cache
def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)


def stacked_experts(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return a model's stacked experts, (E, out, n) or (E, n, out), by the last two parts of their paths."""
    found: dict[str, list[nn.Parameter]] = {}
    for path, module in model.named_modules():
        if "experts" in type(module).__name__.lower():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.dim() == 3 and parameter.is_floating_point():
                    found.setdefault(".".join(f"{path}.{name}".split(".")[-2:]), []).append(parameter)
    return found


def warn_if_left_out(config: Any, model: nn.Module) -> None:
    """Warn of stacked experts that `target_modules` seems to name: they are parameters, which it does not match."""
    wanted = config.target_modules
    if not (experts := stacked_experts(model)):
        return
    if isinstance(wanted, str):
        missed = ["all-linear"] if wanted.lower() == "all-linear" else []
    else:
        modules = ["." + name for name, _ in model.named_modules()]
        missed = [one for one in wanted or () if not any(name.endswith(f".{one}") for name in modules)]
    if missed:
        left_out = [parameter for group in experts.values() for parameter in group]
        fraction = sum(p.numel() for p in left_out) / sum(p.numel() for p in model.parameters())
        warnings.warn(
            f"HRA with target_modules={', '.join(sorted(missed))}: the stacked experts of this model, {len(left_out)} "
            f"parameters with {fraction:.0%} of its weights ({', '.join(sorted(experts))}), are not modules and are "
            "not adapted.",
            stacklevel=2,
        )
