"""Optimizer steps in the sum and the difference of each pair of columns, instead of in the columns themselves."""

from typing import Any

import torch
from peft.tuners.hra.layer import HRALayer
from torch import nn

from . import usage


def train_sum_and_difference(
    model: nn.Module, optimizer: torch.optim.Optimizer, adapter_name: str = "default", ratio: float = 1.0
) -> None:
    """Let `optimizer` step in c and δ of each pair of columns u₁ = c + δ, u₂ = c - δ of an adapter.

    At the paired initialisation the gradients of u₁ and u₂ are opposite, and only δ changes H. An
    optimizer that scales every parameter separately, such as Adam, then moves only δ, and c, the direction that a pair
    rotates, stays close to its random initialisation. With separate coordinates, c is trained too (docs/mathematics.md,
    "Sum and difference"; the paper does not have this). The parameters, their gradients and files remain those of u:
    only the optimizer's state is that of c and δ.

    Call it once, before the first step. If a step ends with an exception, the model has c and δ instead of u.

    model: a model with this package's or PEFT's own HRA layers, whose `hra_u`, and `hra_u_out` if there are any, are
    (n, r) with an even r, or (E, n, r) for E stacked experts; columns 2 i and 2 i + 1 are a pair. optimizer: any
    optimizer that has these parameters.
    ratio: the learning rate of c divided by that of δ (positive, dimensionless), for an optimizer whose steps do not
    depend on the scale of a gradient.

    Raises ValueError if no layer has the adapter, if r is odd or λ = ∞ (`apply_GS`, which has no paired
    initialisation), if `ratio` is not positive, or if the optimizer lacks a layer's parameters. A later
    `optimizer.step` with a closure raises ValueError, since the closure would use c and δ.
    """
    layers = {
        path: layer
        for path, layer in model.named_modules()
        if isinstance(layer, HRALayer) and adapter_name in layer.hra_u
    }
    usage.check_layers(layers.items())
    stepped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not layers:
        raise ValueError(f"expected HRA layers with the adapter {adapter_name!r}, found none")
    if not ratio > 0:
        raise ValueError(f"expected a positive ratio of learning rates, found {ratio}")
    us: list[nn.Parameter] = []
    for path, layer in layers.items():
        for name in ("hra_u", "hra_u_out"):
            if (u := getattr(layer, name, {}).get(adapter_name)) is None:
                continue
            if layer.hra_apply_GS[adapter_name] or u.shape[-1] % 2:
                raise ValueError(f"{path}: expected pairs of columns, found r = {u.shape[-1]}, or λ = ∞ (`apply_GS`)")
            if id(u) not in stepped:
                raise ValueError(f"{path}: expected an optimizer of this layer's `{name}`, found one without it")
            us.append(u)
    gradients: list[tuple[nn.Parameter, torch.Tensor]] = []

    @torch.no_grad()
    def to_sum_and_difference(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if keywords.get("closure", arguments[1] if len(arguments) > 1 else None) is not None:
            raise ValueError("expected a step without a closure, which would use c and δ instead of u")
        gradients.extend((u, u.grad) for u in us if u.grad is not None)
        for u, gradient in gradients:
            first, second = u[..., 0::2], u[..., 1::2]
            first.add_(second).mul_(0.5)
            second.neg_().add_(first)
            first.div_(ratio)
            of_first, of_second = gradient[..., 0::2], gradient[..., 1::2]
            u.grad = torch.stack([(of_first + of_second) * ratio, of_first - of_second], -1).view_as(u)

    @torch.no_grad()
    def to_columns(*_: Any) -> None:
        for u, gradient in gradients:
            first, second = u[..., 0::2], u[..., 1::2]
            first.mul_(ratio).add_(second)
            second.mul_(-2).add_(first)
            u.grad = gradient
        gradients.clear()

    optimizer.register_step_pre_hook(to_sum_and_difference)
    optimizer.register_step_post_hook(to_columns)
