"""The orthogonality regulariser λ of HRA (arXiv 2405.17484, section 3.3)."""

from __future__ import annotations

from collections import defaultdict

import torch
from peft.tuners.hra.layer import HRALayer
from torch import nn

from .reflections import orthogonality_error


def orthogonality_penalty(model: nn.Module, squared: bool = True) -> torch.Tensor:
    """Sum over the adapted layers how far the unit columns of U (n, r) are from orthonormal.

    `squared` (Eq. 6): Σ_layers ‖I_r - UᵀU‖_F². Not squared (official code): Σ_layers ‖I_r - UᵀU‖_F.

    Add λ times it to the loss. The λ of the two are not interchangeable: at the paired start with
    r = 8 a layer gives 8 and 2.83. Every active adapter of every layer counts, this package's or
    PEFT's own; λ = ∞ (`apply_GS`) is orthonormal by construction and counts as zero. Layers of one
    shape share one batched product. Returns a 0-dim tensor, float32 or wider, without unit.

    Works under DDP and FSDP2. Raises ValueError under FSDP1, and if the model has no active HRA adapter.
    """
    groups: dict[tuple, list[torch.Tensor]] = defaultdict(list)
    zeros = []
    for layer in model.modules():
        if not isinstance(layer, HRALayer):
            continue
        for name in layer.active_adapters:
            if name in layer.hra_u:
                u = layer.hra_u[name]
                if layer.hra_apply_GS[name]:
                    dtype = torch.promote_types(u.dtype, torch.float32)
                    zeros.append(torch.zeros((), dtype=dtype, device=u.device))
                elif u.dim() != 2:
                    raise ValueError(
                        f"orthogonality_penalty: expected u of shape (n, r), got {tuple(u.shape)}, flattened by FSDP1, "
                        "from whose pieces it cannot be had. Use FSDP2 (`fully_shard`), or DDP."
                    )
                else:
                    groups[u.shape, u.dtype, u.device, type(u)].append(u)
    if not groups and not zeros:
        raise ValueError(
            "orthogonality_penalty: expected a model with an active HRA adapter, found none. Pass "
            "the model that `get_peft_model(model, HRAConfig(...))` returned."
        )
    total = sum(zeros)
    for us in groups.values():
        with torch.autocast(us[0].device.type, enabled=False):
            stacked = torch.stack(us)
            if hasattr(stacked, "full_tensor"):  # under FSDP2: every rank has the whole penalty, as with DDP
                stacked = stacked.full_tensor()
            error = orthogonality_error(stacked)
            # Layers may lie on several devices; the sum is where the first one is.
            part = (error.square() if squared else error).sum()
        total = part if isinstance(total, int) else total + part.to(total.device)
    return total
