"""Plot all results: time per step relative to the frozen model, on a logarithmic axis."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"lora": "#888888", "peft": "#c44e52", "hra": "#2a6f97"}
LABELS = {"lora": "LoRA (PEFT)", "peft": "HRA (PEFT)", "hra": "HRA (hra)"}


def plot(folder: Path) -> None:
    """Write folder/step.png from the tables in the folder, if there are any."""
    rows = []
    for group in ("linear", "conv2d", "deberta-base", "llama", "small-llama", "unet"):
        path = folder / f"{group}.csv"
        if path.exists():
            with open(path) as file:
                rows += [row for row in csv.DictReader(file) if row["r"] == "8"]
    if not rows:
        return
    figure, axis = plt.subplots(figsize=(9, 0.42 * len(rows) + 1.6), layout="constrained")
    for i, row in enumerate(rows):
        for shift, (kind, colour) in zip((-0.15, 0, 0.15), COLOURS.items(), strict=True):
            if row[kind]:
                ratio = float(row[kind]) / float(row["frozen"])
                axis.scatter(ratio, i + shift, color=colour, s=42, zorder=3, label=LABELS[kind] if i == 0 else None)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks(range(len(rows)), [f"{row['case']} {row['size']}, {row['dtype']}" for row in rows])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
    axis.set_xlabel("forward + backward (one token: inference), times the frozen model's (r = 8)")
    axis.set_title("\n".join(sorted({row["machine"] for row in rows})), fontsize=9)
    axis.grid(axis="x", which="both", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(folder / "step.png", dpi=150)
