"""The scatter plot of rehearsed against published times."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FACTOR = 1.25
MARKERS = {"metamathqa": "o", "image": "s"}
LABELS = {"metamathqa": "Llama-3.2-3B, MetaMathQA", "image": "FLUX.2-klein-4B, DreamBooth"}
HALVES = {"calibration": "half that chose the constants", "held-out": "other half"}
COLOURS = {"calibration": "#999999", "held-out": "#D55E00"}


def draw(results: list[dict], held_out, path: Path) -> None:
    """Write a plot of the rehearsed rows. held_out: the error on the second half."""
    rows = [row for row in results if not row["left_out"]]
    figure, axis = plt.subplots(figsize=(6.4, 6), layout="constrained")
    ends = [
        0.8 * min(float(row["milliseconds"]) for row in rows),
        1.25 * max(float(row["milliseconds"]) for row in rows),
    ]
    axis.fill_between(ends, [end / FACTOR for end in ends], [end * FACTOR for end in ends], color="#eeeeee", zorder=0)
    axis.plot(ends, ends, color="black", linewidth=1, zorder=1)
    for half, colour in COLOURS.items():
        for benchmark, marker in MARKERS.items():
            shown = [row for row in rows if (row["half"], row["benchmark"]) == (half, benchmark)]
            axis.scatter(
                [float(row["milliseconds"]) for row in shown],
                [float(row["rehearsed_milliseconds"]) for row in shown],
                color=colour,
                marker=marker,
                s=28,
                linewidth=0.5,
                edgecolor="white",
                label=f"{LABELS[benchmark]}, {HALVES[half]}",
                zorder=2 + (half == "held-out"),
            )
    axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    axis.set_aspect("equal")
    for which in (axis.xaxis, axis.yaxis):
        which.set_major_locator(plt.FixedLocator([100, 200, 500, 1000, 2000]))
        which.set_major_formatter(plt.FormatStrFormatter("%d"))
        which.set_minor_formatter(plt.NullFormatter())
    axis.set_xlabel("measured by PEFT on an L40S, ms per step")
    axis.set_ylabel("rehearsed, ms per step")
    axis.set_title(
        f"Steps of PEFT's experiments: {held_out.count} that chose nothing differ by {held_out.rms:.0%} (rms)\n"
        f"grey band: a factor of {FACTOR}",
        fontsize=10,
    )
    axis.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=150)
    plt.close(figure)
