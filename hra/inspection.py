"""Measurements of saved HRA adapters: how far each layer's rotation is from the identity."""

import math
from typing import Any

import torch
from peft import HRAConfig, PeftType

from .export import PREFIX
from .loading import read_config, read_weights
from .penalty import orthogonality_error
from .reflections import compact

HEADINGS = {"orthogonality": "‖I - UᵀU‖", "distance": "‖H - I‖", "angle": "angle (°)"}


def measure(adapter: str) -> list[dict[str, Any]]:
    """Measure every layer of a saved HRA adapter without its base model.

    adapter: a folder, or a name on the Hugging Face Hub. Returns a dict per layer, in the file's order, for its
    H (n, n): `layer`, `n`, `r`, `parameters` (numbers in u); `distance`, ‖H - I‖_F = ‖B Vᵀ‖_F, dimensionless, 0 to
    2 √r; `angle`, the largest argument of an eigenvalue, in degrees (0: the base model; 180: a direction is reflected);
    `orthogonality`, ‖I_r - UᵀU‖_F of the unit columns (Eq. 6), dimensionless. The measures of a layer with NaN or
    infinity are NaN.

    Raises ValueError if the adapter does not exist, is not an HRA adapter, or has no layers.
    """
    config = read_config(adapter)
    if not isinstance(config, HRAConfig):
        raise ValueError(f"{adapter}: expected an HRA adapter, found {PeftType(config.peft_type).value}")
    weights = read_weights(adapter, finite=False)
    layers: list[dict[str, Any]] = []
    for key, u in weights.items():
        path, _, name = key.rpartition(".")
        if name == "hra_u":
            V, B = compact(u.double(), config.apply_GS)
            # H has the eigenvalue 1 outside the span of B; within it, the eigenvalues of the r x r matrix I - VᵀB.
            part = torch.eye(V.shape[-1]) - V.mT @ B
            finite = bool(part.isfinite().all())  # LAPACK may crash on others
            angle = torch.linalg.eigvals(part).angle().abs().max().item() if finite else math.nan
            layers.append(
                {
                    "layer": path.removeprefix(PREFIX),
                    "n": u.shape[-2],
                    "r": u.shape[-1],
                    "parameters": u.numel(),
                    "orthogonality": orthogonality_error(u.double()).item(),
                    "distance": ((B.mT @ B) * (V.mT @ V)).sum().clamp(min=0).sqrt().item(),
                    "angle": math.degrees(angle),
                }
            )
    if not layers:
        raise ValueError(f"{adapter}: expected tensors named hra_u, found none")
    return layers


def show(adapter: str) -> None:
    """Print the measures of every layer: `hra inspect`."""
    layers = measure(adapter)
    names = [layer["layer"] for layer in layers]
    keys = ["n", "r", "parameters", *HEADINGS]
    print(f"{adapter}: {sum(layer['parameters'] for layer in layers):,} parameters")
    width = max(map(len, names))
    print(" " * width, *(f"{HEADINGS.get(key, key):>10}" for key in keys))
    for name, layer in zip(names, layers, strict=True):
        cells = (layer[key] for key in keys)
        print(f"{name:{width}}", *(f"{one:10.3g}" if isinstance(one, float) else f"{one:>10}" for one in cells))
