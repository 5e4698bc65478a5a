"""Measuring saved HRA adapters."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from peft import HRAConfig, PeftConfig
from peft.utils import load_peft_weights

from .export import PREFIX
from .reflections import compact, orthogonality_error


def measure(adapter: str) -> list[dict]:
    """Measure every layer of a saved HRA adapter without its base model.

    For the layer's H (n, n): `distance` is ‖H - I‖_F = ‖B Vᵀ‖_F; `angle` is the largest argument of an eigenvalue in
    degrees (0: the base model; 180: some direction is reflected). `orthogonality` is ‖I_r - UᵀU‖_F of the unit columns
    (Eq. 6).

    Raises ValueError if it is not an HRA adapter.
    """
    config = PeftConfig.from_pretrained(adapter)
    if not isinstance(config, HRAConfig):
        raise ValueError(f"{adapter}: expected an HRA adapter, found {config.peft_type}")
    layers = []
    for key, u in load_peft_weights(adapter, device="cpu").items():
        if key.endswith(".hra_u"):
            V, B = compact(u.double(), config.apply_GS)
            # H has the eigenvalue 1 outside the span of B; within it, the eigenvalues of the r x r matrix I - VᵀB.
            eigenvalues = torch.linalg.eigvals(torch.eye(V.shape[1]) - V.mT @ B)
            layers.append(
                {
                    "layer": key.removeprefix(PREFIX).removesuffix(".hra_u"),
                    "n": u.shape[0],
                    "r": u.shape[1],
                    "parameters": u.numel(),
                    "orthogonality": orthogonality_error(u.double()).item(),
                    "distance": ((B.mT @ B) * (V.mT @ V)).sum().clamp(min=0).sqrt().item(),
                    "angle": math.degrees(eigenvalues.angle().abs().max().item()),
                }
            )
    return layers


def inspect(adapter: str, png: str) -> None:
    """Show layers, parameters and the distance from the base model."""
    from rich.console import Console
    from rich.table import Table

    layers = measure(adapter)
    table = Table(title=f"{adapter}: {sum(layer['parameters'] for layer in layers):,} parameters")
    headings = ["layer", "n", "r", "parameters", "‖I - UᵀU‖", "‖H - I‖", "angle"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "layer" else "right", overflow="fold")
    for layer in layers:
        values = [f"{layer[key]:.3g}" for key in ("orthogonality", "distance")]
        counts = [f"{layer[key]:,}" for key in ("n", "r", "parameters")]
        table.add_row(layer["layer"], *counts, *values, f"{layer['angle']:.1f}°")
    Console().print(table)
    _plot(layers, adapter, png)
    print(f"figure: {png}")


def figure_name(adapter: str) -> str:
    """Name the figure after the adapter's path: every run's last adapter is called `last`."""
    path = Path(adapter)
    parts = [part for part in path.parts if part not in (path.anchor, "..")] or [path.resolve().name]
    return "-".join(parts[-6:]) + ".png"


def _plot(layers: list[dict], title: str, png: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {"distance": "‖H - I‖", "angle": "largest angle (°)", "orthogonality": "‖I - UᵀU‖"}
    height = 1.5 + 0.22 * len(layers)
    figure, axes = plt.subplots(1, 3, figsize=(11, height), sharey=True, layout="constrained")
    for axis, (key, label) in zip(axes, panels.items(), strict=True):
        axis.barh([layer["layer"] for layer in layers], [layer[key] for layer in layers], color="#2a6f97")
        axis.set_xlabel(label)
    axes[0].invert_yaxis()
    axes[0].tick_params(axis="y", labelsize=7)
    figure.suptitle(title)
    figure.savefig(png, dpi=150)
    plt.close(figure)
