"""Measurements of saved adapters: HRA's rotation, and any PEFT method's update of the base model's weights."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from peft import HRAConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from .bank import Factors
from .export import PREFIX
from .loading import check_tensors, read_config, read_weights
from .merging import ROWS
from .penalty import orthogonality_error
from .quantized import is_plain
from .reflections import compact, exact

OUT = " (out)"  # ends the name of a layer's output side


def measure(adapter: str) -> list[dict[str, Any]]:
    """Measure every layer of a saved HRA adapter without its base model.

    adapter: a folder, or a name on the Hugging Face Hub. Returns a dict per layer, in the file's order, for its
    H (n, n): `layer`, `n`, `r`, `parameters` (numbers in u); `distance`, ‖H - I‖_F = ‖B Vᵀ‖_F, dimensionless, 0 to
    2 √r; `angle`, the largest argument of an eigenvalue, in degrees (0: the base model; 180: a direction is reflected);
    `orthogonality`, ‖I_r - UᵀU‖_F of the unit columns (Eq. 6), dimensionless. The measures of a layer with NaN or
    infinity are NaN. Stacked experts (E, n, r) are one dict: the largest of their angles, the means of the others.

    With `two_sided`, a second dict follows, of H_L, whose `layer` ends with " (out)" and whose `n` is the number of
    outputs. With `magnitudes`, the first one also has `magnitude`, the largest |δ|, dimensionless, and counts δ.

    Raises ValueError if the adapter does not exist, is not an HRA adapter, has no layers, or lacks tensors of them.
    """
    config = read_config(adapter)
    if not isinstance(config, HRAConfig):
        raise ValueError(f"{adapter}: expected an HRA adapter, found {config.peft_type}")
    weights = read_weights(adapter, finite=False)
    check_tensors(adapter, config, weights)
    layers = []
    for key, u in weights.items():
        path, _, name = key.rpartition(".")
        if name in ("hra_u", "hra_u_out"):
            V, B = compact(u.double(), config.apply_GS)
            # H has the eigenvalue 1 outside the span of B; within it, the eigenvalues of the r x r matrix I - VᵀB.
            part = torch.eye(V.shape[-1]) - V.mT @ B
            finite = bool(part.isfinite().all())  # LAPACK may crash on others
            angle = torch.linalg.eigvals(part).angle().abs().max().item() if finite else math.nan
            layer: dict[str, Any] = {
                "layer": path.removeprefix(PREFIX) + OUT * (name == "hra_u_out"),
                "n": u.shape[-2],
                "r": u.shape[-1],
                "parameters": u.numel(),
                "orthogonality": orthogonality_error(u.double()).mean().item(),
                "distance": ((B.mT @ B) * (V.mT @ V)).sum((-2, -1)).clamp(min=0).sqrt().mean().item(),
                "angle": math.degrees(angle),
            }
            if name == "hra_u" and (delta := weights.get(f"{path}.hra_magnitudes")) is not None:
                layer["parameters"] += delta.numel()
                layer["magnitude"] = delta.abs().max().item()
            layers.append(layer)
    if not layers:
        raise ValueError(f"{adapter}: expected tensors named hra_u, found none")
    return layers


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Iterate over the layers whose weight an adapter changes, with their names in the base model."""
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and hasattr(module, "merge"):
            yield name.removeprefix(PREFIX), module


@torch.no_grad()
def measure_update(name: str, layer: Any) -> dict[str, Any]:
    """Measure the update ΔW = W' - W of a layer's weight W (out, n), by merging a float32 copy of the layer.

    `norm` is ‖ΔW‖_F / ‖W‖_F. `angle` is the mean angle between a row of W (a neuron) and that of W', in degrees.
    `stretch` is the largest change of a singular value, max |σ_i(W') - σ_i(W)| / σ_1(W): 0 for a rotation such as
    HRA's. `spectrum` and `base_spectrum`, both (min(out, n),), are the singular values of ΔW and W, divided by σ_1(W).
    If W' has NaN or infinity, all measures except `base_spectrum` are NaN. For stacked experts the spectra are means
    over experts, each divided by its own σ_1.

    Raises TypeError if the weight is quantised, or the method does not merge into weights.
    """
    parameter = getattr(layer, "parameter_name", None)
    if not is_plain(getattr(layer.get_base_layer(), parameter or "weight")):
        raise TypeError(
            f"expected a plain floating-point weight in {name}, found a quantised one of "
            f"{type(layer.get_base_layer()).__name__}. Pass the base model without quantisation as --base."
        )
    layer = copy.deepcopy(layer).float()  # rounding the sum to 16 bits would hide small updates
    transposed = getattr(layer, "transposed", getattr(layer.get_base_layer(), "is_transposed", False))
    before = _matrix(layer.get_base_layer(), parameter, transposed)
    try:
        layer.merge()
    except NotImplementedError as error:
        raise TypeError(f"{name} cannot be measured: its method does not merge into the weight. {error}") from error
    after = _matrix(layer.get_base_layer(), parameter, transposed)  # some methods exchange the base layer
    values, merged, update = (_singular_values(one) for one in (before, after, after - before))
    cosines = nn.functional.cosine_similarity(before.double(), after.double(), dim=-1).clamp(-1, 1)
    return {
        "layer": name,
        "out": before.shape[-2],
        "n": before.shape[-1],
        "parameters": sum(one.numel() for key, one in layer.named_parameters() if "base_layer" not in key),
        "norm": ((after - before).norm() / before.norm()).item(),
        "angle": math.degrees(cosines.arccos().mean().item()),
        "stretch": ((merged - values).abs() / values[..., :1]).max().item(),
        "spectrum": (update / values[..., :1]).view(-1, values.shape[-1]).mean(0),
        "base_spectrum": (values / values[..., :1]).view(-1, values.shape[-1]).mean(0),
    }


@torch.no_grad()
def probe(weight: torch.Tensor, factors: Factors | None = None) -> torch.Tensor:
    """Compute W x, or W H x with factors V and B (n, r) of H, for 8 random inputs x (n, 8), equal in all calls.

    weight: (out, ...) with n numbers per row. Returns (out, 8), float64.
    """
    W = weight.flatten(1)
    x = exact(torch.randn(W.shape[1], 8, generator=torch.Generator().manual_seed(0)).to(W.device))
    if factors is not None:
        V, B = map(exact, factors)
        x = x - B @ (V.mT @ x)
    return torch.cat([exact(rows) @ x for rows in W.split(ROWS)])


def _singular_values(W: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(W) if W.isfinite().all() else W.new_full((*W.shape[:-2], min(W.shape[-2:])), math.nan)


def _matrix(layer: Any, parameter: str | None, transposed: bool) -> torch.Tensor:
    """Return a copy of the weight as a matrix (out, n); stacked experts, a named parameter, as (E, out, n)."""
    weight = getattr(layer, parameter or "weight").detach().clone()
    if parameter and weight.dim() == 3:
        return weight.mT if transposed else weight
    if type(layer).__name__ == "Conv1D":  # of transformers' GPT-2
        weight = weight.mT
    return weight.flatten(1) if weight.dim() > 1 else weight[:, None]
