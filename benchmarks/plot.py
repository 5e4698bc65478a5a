"""Plot all results: time per step relative to the frozen model, on a logarithmic axis."""

import csv
import textwrap
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"lora": "#888888", "peft": "#c44e52", "next": "#dd8452", "hra": "#2a6f97"}
LABELS = {"lora": "LoRA (PEFT)", "peft": "HRA (PEFT)", "next": "HRA (next PEFT)", "hra": "HRA (hra)"}


def plot(folder: Path) -> None:
    """Write folder/step.png from the tables in the folder, if there are any: one panel per processor."""
    rows: dict[str, list[dict]] = defaultdict(list)
    for group in ("linear", "conv2d", "deberta-base", "llama", "small-llama", "unet"):
        path = folder / f"{group}.csv"
        if path.exists():
            with open(path) as file:
                for row in csv.DictReader(file):
                    if row["r"] == "8":
                        rows[row["machine"].partition(",")[0]].append(row)
    if not rows:
        return
    longest = max(map(len, rows.values()))
    figure, axes = plt.subplots(
        1, len(rows), figsize=(9 * len(rows), 0.42 * longest + 1.6), layout="constrained", squeeze=False
    )
    for axis, measured in zip(axes[0], rows.values(), strict=True):
        draw(axis, measured)
    handles = [plt.Line2D([], [], color=COLOURS[kind], marker="o", linestyle="") for kind in LABELS]
    figure.legend(handles, LABELS.values(), loc="outside lower center", ncols=len(LABELS), frameon=False)
    figure.savefig(folder / "step.png", dpi=150)


def draw(axis: plt.Axes, rows: list[dict]) -> None:
    for i, row in enumerate(rows):
        for shift, (kind, colour) in zip((-0.21, -0.07, 0.07, 0.21), COLOURS.items(), strict=True):
            if row.get(kind):
                ratio = float(row[kind]) / float(row["frozen"])
                axis.scatter(ratio, i + shift, color=colour, s=42, zorder=3)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks(range(len(rows)), [f"{row['case']} {row['size']}, {row['dtype']}" for row in rows])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
    axis.set_xlabel("forward + backward (one token: inference), times the frozen model's (r = 8)")
    machines = [part for machine in sorted({row["machine"] for row in rows}) for part in textwrap.wrap(machine, 75)]
    axis.set_title("\n".join(machines), fontsize=9)
    axis.grid(axis="x", which="both", alpha=0.3)
