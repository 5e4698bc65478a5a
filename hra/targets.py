"""A warning of the stacked experts that `target_modules` seems to name."""

import warnings
from typing import Any

from torch import nn


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
