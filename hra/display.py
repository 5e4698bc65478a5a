"""The table and the figure of `hra inspect`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import HRAConfig

from .inspection import OUT, adapted_layers, measure, measure_update
from .loading import find_base, load, read_config

if TYPE_CHECKING:
    from rich.table import Table

Measured = dict[str, list[dict[str, Any]]]  # label → layers
ROTATION = {"orthogonality": "‖I - UᵀU‖", "distance": "‖H - I‖", "angle": "angle (°)"}
MAGNITUDES = {"magnitude": "max |δ|"}  # of layers that have them
UPDATE = {"norm": "‖ΔW‖/‖W‖", "angle": "angle (°)", "stretch": "Δσ/σ₁"}
COUNTS = ("out", "n", "r", "parameters")
COLOURS = ("#2a6f97", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#000000")


def inspect(adapters: list[str], png: str | None, base: str | None) -> None:
    """Print the table and write the figure of several saved adapters: `hra inspect`."""
    from rich.console import Console

    if len(adapters) > len(COLOURS):
        raise ValueError(f"expected at most {len(COLOURS)} adapters, found {len(adapters)}")
    types = {adapter: read_config(adapter) for adapter in adapters}
    rotations = base is None and all(isinstance(config, HRAConfig) for config in types.values())
    measured = {one: measure(one) if rotations else measure_updates(one, base) for one in adapters}
    panels = ROTATION if rotations else UPDATE
    if any("magnitude" in layer for layers in measured.values() for layer in layers):
        panels = panels | MAGNITUDES
    letters = dict(zip(adapters, "ABCDEFGH", strict=False)) if len(adapters) > 1 else {adapters[0]: ""}
    titles = {
        letter: f"{letter} {adapter}: {types[adapter].peft_type.value}, "
        f"{sum(layer['parameters'] for layer in measured[adapter]):,} parameters".strip()
        for adapter, letter in letters.items()
    }
    print(*titles.values(), sep="\n")
    by_letter = {letter: measured[adapter] for adapter, letter in letters.items()}
    console = Console()
    console.width = console.width if console.is_terminal else 200
    console.print(table(by_letter, panels))
    png = png or figure_name(adapters)
    plot(by_letter, panels, titles, png)
    print(f"figure: {png}")


def measure_updates(adapter: str, base: str | None) -> list[dict[str, Any]]:
    """Measure every adapted layer on the base model. Raises ValueError if the adapter changes no weights."""
    from rich.console import Console
    from rich.progress import track

    model, _ = load(adapter, find_base(adapter, base), finite=False)
    layers = list(adapted_layers(model))
    if not layers:
        raise ValueError(f"{adapter}: expected an adapter that changes weights of the base model, found none that does")
    console = Console(stderr=True)
    return [measure_update(*layer) for layer in track(layers, adapter, console=console, transient=True)]


def figure_name(adapters: list[str]) -> str:
    """Name the figure after the first adapter's path: every run's last adapter is called `last`."""
    path = Path(adapters[0])
    parts = [part for part in path.parts if part not in (path.anchor, "..")] or [path.resolve().name]
    others = f"-and-{len(adapters) - 1}-more" if len(adapters) > 1 else ""
    return "-".join(parts[-6:]) + others + ".png"


def layer_names(measured: Measured) -> list[str]:
    """Return the names of all measured layers, each once, in order of first appearance, both sides together."""
    found = dict.fromkeys(layer["layer"] for layers in measured.values() for layer in layers)
    places = {name: place for place, name in enumerate(found)}
    return sorted(found, key=lambda name: places[name.removesuffix(OUT)])


def table(measured: Measured, panels: dict[str, str]) -> "Table":
    """Build a table with one row per layer and adapter, grouped by layer."""
    from rich.box import SIMPLE
    from rich.table import Table

    found = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    counts = [key for key in COUNTS if key in next(iter(measured.values()))[0]]
    found.add_column("layer", overflow="fold", min_width=min(24, max(map(len, layer_names(measured)))))
    found.add_column("")
    for heading in (*counts, *panels.values()):
        found.add_column(heading, justify="right", overflow="fold")
    for name in layer_names(measured):
        rows = [(letter, layer) for letter, layers in measured.items() for layer in layers if layer["layer"] == name]
        for place, (letter, layer) in enumerate(rows):
            cells = [f"{layer[key]:,}" for key in counts] + [
                f"{layer[key]:#.3g}".rstrip(".") if key in layer else "" for key in panels
            ]
            found.add_row("" if place else name, letter, *cells)
    return found


def plot(measured: Measured, panels: dict[str, str], titles: dict[str, str], png: str) -> None:
    """Write a figure with one panel per measure and one bar per layer and adapter; for updates also singular values."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = layer_names(measured)
    spectra = "spectrum" in next(iter(measured.values()))[0]
    size = 11 + 5 * spectra, max(1.5 + 0.2 * len(measured) + (0.1 + 0.12 * len(measured)) * len(names), 5 * spectra)
    figure, axes = plt.subplots(1, len(panels) + spectra, figsize=size, layout="constrained")
    thickness = 0.8 / len(measured)
    for axis, (key, label) in zip(axes, panels.items(), strict=False):
        axis.set(xlabel=label, yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
        axis.set_yticklabels(names if axis is axes[0] else [], fontsize=7)
        for place, (letter, layers) in enumerate(measured.items()):
            rows = [names.index(layer["layer"]) - 0.4 + thickness * (place + 0.5) for layer in layers]
            values = [layer.get(key, math.nan) for layer in layers]
            axis.barh(rows, values, height=thickness, color=COLOURS[place], label=titles[letter])
    if spectra:
        for place, layers in enumerate(measured.values()):
            for layer in layers:
                axes[-1].plot(range(1, len(layer["spectrum"]) + 1), layer["spectrum"], COLOURS[place], alpha=0.4)
        for layer in next(iter(measured.values())):
            axes[-1].plot(range(1, len(layer["base_spectrum"]) + 1), layer["base_spectrum"], "0.6", zorder=0)
        axes[-1].set(
            xlabel="i", ylabel="σ_i(ΔW) / σ₁(W), grey: σ_i(W) / σ₁(W)", xscale="log", yscale="log", ylim=(1e-6, None)
        )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", fontsize=8)
    figure.savefig(png, dpi=150)
    plt.close(figure)
