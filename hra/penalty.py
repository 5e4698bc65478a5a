"""The orthogonality regulariser of HRA (arXiv 2405.17484, section 3.3)."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft.tuners.hra.layer import HRALayer
from torch import nn

from . import checks
from .reflections import exact, squared_lengths, wide


def orthogonality_penalty(model: nn.Module, squared: bool = True) -> torch.Tensor:
    """Compute the sum over all adapted layers of how far the unit columns of U (n, r) are from orthonormal.

    `squared` (Eq. 6): Σ_layers ‖I_r - UᵀU‖_F². Not squared (official code): Σ_layers ‖I_r - UᵀU‖_F.

    Add λ times the penalty to the loss, once per optimizer step: if the losses of several micro-batches are summed, add
    it divided by their number. `OrthogonalityCallback` does this for Trainers. The λ of the two definitions are not
    interchangeable: with the paired initialisation and r = 8, a layer contributes 8 and 2.83, respectively. Every
    active adapter of every layer counts, this package's and PEFT's own; adapters with
    λ = ∞ (`apply_GS`) are orthonormal by construction and contribute zero. Layers of the same shape share one batched
    product. Returns a dimensionless 0-dim tensor, float32 or wider, on the device of the first adapted layer: if layers
    are on several devices, move it to the loss's device.

    Works under DDP, FSDP2 and DeepSpeed's ZeRO. Raises ValueError under FSDP1 and if the model has no active HRA
    adapter.
    """
    layers: dict[str, Any] = {path: layer for path, layer in model.named_modules() if isinstance(layer, HRALayer)}
    checks.check_layers(layers.items())
    with _gathered([u for layer in layers.values() for u in layer.hra_u.values()]):
        return _penalty(layers.values(), squared)


def _gathered(us: list[nn.Parameter]) -> AbstractContextManager[Any]:
    """Return a context with the content of parameters that DeepSpeed's ZeRO-3 empties between forward passes."""
    if not any(hasattr(u, "ds_id") for u in us):
        return nullcontext()
    import deepspeed  # type: ignore[import-not-found, unused-ignore]

    return deepspeed.zero.GatheredParameters(us)


def _penalty(layers: Iterable[Any], squared: bool) -> torch.Tensor:
    groups: dict[tuple[Any, ...], list[torch.Tensor]] = defaultdict(list)
    parts: list[torch.Tensor] = []
    device = None
    for layer in layers:
        for name in layer.active_adapters:
            if name in layer.hra_u:
                u = layer.hra_u[name]
                device = device or u.device
                if layer.hra_apply_GS[name]:
                    dtype = torch.promote_types(u.dtype, torch.float32)
                    parts.append(torch.zeros((), dtype=dtype, device=device))
                elif u.dim() < 2:
                    raise ValueError(
                        f"orthogonality_penalty: expected u of shape (n, r), found {tuple(u.shape)}: FSDP1 has "
                        "flattened and sharded it. Use FSDP2 (`fully_shard`) or DDP."
                    )
                else:
                    groups[u.shape, u.dtype, u.device, type(u)].append(u)
    if not groups and not parts:
        raise ValueError(
            "orthogonality_penalty: expected a model with an active HRA adapter, found none. Pass "
            "the model that `get_peft_model(model, HRAConfig(...))` returned."
        )
    for us in groups.values():
        with torch.autocast(us[0].device.type, enabled=False):
            stacked = torch.stack(us)
            if hasattr(stacked, "full_tensor"):  # under FSDP2: every rank computes the full penalty, as under DDP
                stacked = stacked.full_tensor()
            error = orthogonality_error(stacked)
            parts.append((error.square() if squared else error).sum())
    total = parts[0].to(device)
    for part in parts[1:]:
        total = total + part.to(device)
    return total


def orthogonality_error(U: torch.Tensor) -> torch.Tensor:
    """Measure how far the unit columns are from orthonormal: ‖I_r - VᵀV‖_F, V = U / ‖u_i‖ (Eq. 6).

    U: (..., n, r). Returns (...,), dimensionless, between 0 and r, float32 or wider. A zero column
    has no direction: it adds the constant 1 to the square.
    """
    U = wide(U)
    W = exact(U)
    gram = W.mT @ W
    length = squared_lengths(gram.diagonal(dim1=-2, dim2=-1), U.dtype, zero=1.0).sqrt()
    cosines = gram / (length.unsqueeze(-1) * length.unsqueeze(-2))
    eye = torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    return torch.linalg.vector_norm(eye - cosines, dim=(-2, -1)).to(U.dtype)
