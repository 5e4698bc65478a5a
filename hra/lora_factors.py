"""The factors of the LoRA, or the DoRA, that is equal to the HRA adapter of one layer."""

from typing import Any

import torch
from torch import nn

from .bank import Factors
from .merging import ROWS, not_a_parameter
from .outputs import Outputs, Step, fold
from .quantized import dense_weight, is_partitioned
from .reflections import compact, exact

TENSORS = ("hra_u", "hra_u_out", "hra_magnitudes")
NOISE = 8  # rounding errors of its terms: the length of a row that may be zero in PEFT's arithmetic

Equal = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]  # lora_A, lora_B and DoRA's magnitudes


@torch.no_grad()
def factors_of(name: str, layer: Any, adapter_name: str) -> Equal:
    """Compute PEFT's tensors of the LoRA or DoRA that is equal to a layer's adapter; `to_lora` lists their shapes.

    name: the layer's path in the base model, for the errors, which are those of `to_lora`.
    """
    if layer.merged:
        raise ValueError("to_lora: expected an unmerged adapter; call `unmerge_adapter()` first")
    if (reason := not_a_parameter(layer)) is not None:
        raise TypeError(f"to_lora: {name}: {reason}.")
    base = layer.get_base_layer()
    tensors = [getattr(layer, kind, {}).get(adapter_name) for kind in TENSORS]
    tensors.append(getattr(base, "weight", None))
    if any(hasattr(tensor, "placements") or is_partitioned(tensor) for tensor in tensors):
        raise ValueError(
            f"to_lora: {name}: expected all of its tensors in this process, found parts of them (tensor parallelism, "
            "FSDP2, ZeRO-3). Save the adapter, and export it in one process (`hra to-lora`)."
        )
    V, B = compact(layer.hra_u[adapter_name], layer.hra_apply_GS[adapter_name])
    steps = layer.get_steps([adapter_name]) if isinstance(layer, Outputs) else []
    m = None
    if isinstance(base, nn.Conv2d):
        _check_convolution(name, base)
        A, B, m = _of_matrix(name, base.weight.flatten(1), (V, B), steps)
        A, B, m = A.view(-1, *base.weight.shape[1:]), B[:, :, None, None], None if m is None else m.view(1, -1, 1, 1)
    else:
        A, B, m = _of_matrix(name, dense_weight(base, len(V), name), (V, B), steps)
    if not all(one is None or one.isfinite().all() for one in (A, B, m)):
        raise ValueError(
            f"to_lora: {name}: expected finite numbers, found NaN or infinity in the adapter or in the base weight. "
            "Export an adapter from before its training diverged."
        )
    return A, B, m


def _of_matrix(name: str, weight: torch.Tensor, factors: Factors, steps: list[Step]) -> Equal:
    """Compute A (r, n), B (out, r) and m (out,) of diag(d) H_L W H_R, in float64 by blocks of rows, rounded once.

    H_L W H_R = W H_R - B_L (V_Lᵀ W H_R), with W H_R = W - (W B_R) V_Rᵀ.
    """
    dtype = factors[0].dtype
    V, B = map(exact, factors)
    VL, BL, d = (None if one is None else one[0] for one in fold(steps))
    blocks = weight.split(ROWS)
    WB = torch.cat([exact(rows) @ B for rows in blocks])
    A, B = V.mT, -WB
    if VL is not None and BL is not None:
        M = sum(v.mT @ exact(rows) for v, rows in zip(VL.split(ROWS), blocks, strict=True)) - (VL.mT @ WB) @ V.mT
        A, B = torch.cat([M, A]), torch.cat([-BL, B], 1)
    if d is None:
        return A.to(dtype).contiguous(), B.to(dtype), None
    sizes, kind = A.norm(dim=1), torch.finfo(dtype)
    found = []
    for rows, b in zip(blocks, B.split(ROWS), strict=True):
        wide = exact(rows)
        length = torch.addmm(wide, b, A).norm(dim=1)
        lost = ~wide.any(dim=1) & (length <= NOISE * kind.eps * (b.abs() @ sizes))
        lost |= length < kind.tiny**0.5  # its square is zero in PEFT's norm
        found.append(length.masked_fill(lost, 0))
    lengths = torch.cat(found)
    if zeros := (lengths == 0).sum().item():
        raise ValueError(
            f"to_lora: {name}: expected rows of W that are not zero, found {zeros}, the first one at index "
            f"{lengths.argmin().item()}. An adapter with magnitudes is exported as DoRA, which divides by their "
            "lengths. Merge the adapter instead (`merge_and_unload`)."
        )
    return A.to(dtype).contiguous(), B.to(dtype), (d * lengths).to(dtype)


def _check_convolution(name: str, base: nn.Conv2d) -> None:
    if base.padding_mode != "zeros" or set(base.dilation) != {1}:
        raise ValueError(
            f"to_lora: {name} has dilation {base.dilation} and padding mode {base.padding_mode!r}; PEFT's LoRA "
            "ignores both, so the export would be wrong. Exclude that layer, or merge the adapter instead."
        )
    if base.groups > 1:
        raise ValueError(
            f"to_lora: {name} has {base.groups} groups; an equivalent LoRA would have rank {base.groups} r, and "
            "PEFT cannot merge it. Exclude that layer, or merge the adapter instead."
        )
