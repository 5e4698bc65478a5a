"""Checks of the parameters that `target_parameters` names and of the experts that `target_modules` leaves out."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn


def check_same_parameters(configs: Mapping[str, Any], new: Any) -> None:
    """Raise ValueError if two adapters have different `target_parameters`: adapter files count wrappers by position."""
    names = getattr(new, "target_parameters", None)
    for other in configs.values():
        others = getattr(other, "target_parameters", None)
        if names and others and set(names) != set(others):
            raise ValueError(
                f"HRA: expected all adapters of a model to have the same `target_parameters`, found {sorted(others)} "
                f"and {sorted(names)}. Load the base model again for the second adapter."
            )


def check_names(config: Any, model: nn.Module) -> None:
    """Raise ValueError if one of the config's `target_parameters` is not the name of a parameter."""
    places = ["." + _plain_name(name) for name, _ in model.named_parameters()]
    for target in getattr(config, "target_parameters", None) or ():
        if not any(place.endswith(f".{target}") for place in places):
            raise ValueError(
                f"HRA with target_parameters={config.target_parameters}: expected names of parameters, found none for "
                f"{target!r}. Stacked experts of this model: {', '.join(stacked_experts(model)) or 'none'}."
            )


def _plain_name(name: str) -> str:
    name = name.replace(".base_layer", "")
    if ".parametrizations." in name:
        name = name.replace(".parametrizations.", ".").removesuffix(".original")
    return name


def stacked_experts(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return a model's stacked experts, (E, out, n) or (E, n, out), by the last two parts of their paths."""
    found: dict[str, list[nn.Parameter]] = {}
    for path, module in model.named_modules():
        if "experts" in type(module).__name__.lower():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.dim() == 3 and parameter.is_floating_point():
                    found.setdefault(".".join(_plain_name(f"{path}.{name}").split(".")[-2:]), []).append(parameter)
    return found


def warn_if_left_out(config: Any, model: nn.Module) -> None:
    """Warn of stacked experts that `target_modules` seems to name: they are parameters, which it does not match."""
    wanted = config.target_modules
    if getattr(config, "target_parameters", None) or not (experts := stacked_experts(model)):
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
            f"parameters with {fraction:.0%} of its weights, are not modules and are not adapted. To adapt them, pass "
            f"hra.HRAConfig(target_parameters={sorted(experts)}).",
            stacklevel=2,
        )
