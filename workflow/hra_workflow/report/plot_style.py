"""Style of the figures: one colour per method, one marker per variant, reproducible files."""

import math
import textwrap
from collections import defaultdict
from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

MARKERS = "osD^vPX"
SETTINGS = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
SMALL = 9
WIDTH = (
    5  # inches of every figure, with panels below each other: on a telephone, text is then three quarters of its size
)
CHARACTERS = 76  # of small print across a figure
ACROSS = {"x": 52, "y": 34}  # characters of a label along an axis; panels are at least 3.4 inches high


def styles(runs: list[str], colours: dict[str, str]) -> dict[str, dict]:
    """Assign colours per method, and markers by the variant's position within its method.

    colours: those of `colours.of_methods`; a method that exists only in the paper is grey.
    """
    markers: dict = defaultdict(lambda: cycle(MARKERS))
    methods = {run: run.split("/")[0] for run in runs}
    return {
        run: {"color": colours.get(method, "#666666"), "marker": next(markers[method])}
        for run, method in methods.items()
    }


def dot(ax, x: float, y: float, label: str, look: dict, yerr: float | None = None) -> Line2D:
    """Plot a marker with an error bar, unless the error is None, NaN or 0; return its handle for a legend."""
    error = {"yerr": yerr} if yerr and not pd.isna(yerr) else {}
    marker = {"color": look["color"], "marker": look["marker"], "linestyle": "", "markersize": 8}
    ax.errorbar(x, y, **error, elinewidth=1.2, **marker)
    return Line2D([], [], label=label, **marker)


def better(name: str, wanted: str, axis: str = "y") -> str:
    """Append the direction of the better values, `lower` or `higher`, to the label of an axis, and wrap it."""
    arrow = {("y", "higher"): "↑", ("y", "lower"): "↓", ("x", "higher"): "→", ("x", "lower"): "←"}[axis, wanted]
    lines = f"{name}, {arrow}\0better".split("\n")  # the arrow stays with its word
    wrapped = [textwrap.fill(line, ACROSS[axis], break_on_hyphens=False) for line in lines]
    return "\n".join(wrapped).replace("\0", " ")


def logarithmic(ax, unit: float = 1, name: str = "") -> None:
    """Make the x axis logarithmic, with ticks such as 0.5, 1, 2, 5 in a unit with this name."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    steps = (1, 2, 5) if high < 100 * low else (1, 3) if high < 1000 * low else (1,)
    ax.xaxis.set_major_locator(LogLocator(subs=steps) if high > 10 * low else MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}{name}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def widen(ax, scale: float) -> None:
    """Extend the y axis to 2 percentage points, or a tenth of other values, so that small differences look small.

    scale: factor applied to the scores; 100: they are percentages, at most 100 except for the ends of whiskers.
    """
    low, high = ax.get_ylim()
    least = 2 if scale == 100 else 0.1 * max(abs(low), abs(high))
    room = max(0, least - (high - low)) / 2
    ax.set_ylim(low - room, min(high + room, max(101, ax.dataLim.y1 + 0.5)) if scale == 100 else high + room)


def say(ax, text: str) -> None:
    """Write text instead of data."""
    text = text.replace("$", r"\$")  # matplotlib measures wrapped text as mathematics, regardless of parse_math
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#666666", wrap=True)


def legend(figure: Figure, handles: list[Line2D], **options) -> None:
    """Put a legend above the panels; the figure becomes higher by as much."""
    if handles:
        figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(handles) / 2))
        figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=SMALL, **options)


def footnote(figure: Figure, lines: list[str]) -> None:
    """Write small print below a figure."""
    text = "\n".join(textwrap.fill(line, CHARACTERS) for line in lines)
    figure.set_figheight(figure.get_figheight() + 0.16 * text.count("\n"))
    figure.supxlabel(text, fontsize=SMALL, color="#555555", x=0.01, ha="left")


def save(figure: Figure, svg: str, png: str) -> None:
    """Save a figure without dates and versions, so that the same data give byte-identical files.

    A `$` in a label of the config is a dollar sign; only matplotlib's own ticks are mathematics.
    """
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        text.set_parse_math(text in ticks or text.get_wrap())
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    figure.savefig(png, dpi=200, metadata={"Software": None})
