"""Style of the figures: one colour per method, one marker and dash per variant, reproducible files."""

from collections import defaultdict

from matplotlib.figure import Figure
from matplotlib.text import Text

from common.methods import METHODS

SPARE = ["#332288", "#882255", "#117733"]
MARKERS = "osD^vPX"
DASHES = ["-", "--", "-.", ":", (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1)), (0, (3, 5))]
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


def colour(run: str) -> str:
    """Return the colour of `method/variant`: the kind's colour if the method is named after a kind."""
    method = run.split("/")[0]
    own = METHODS[method].colour if method in METHODS else None
    return own or SPARE[sum(map(ord, method)) % len(SPARE)]


def styles(runs: list[str]) -> dict[str, dict]:
    """Assign colours per method, and markers and dashes by the variant's position within its method."""
    seen, result = defaultdict(int), {}
    for run in runs:
        method = run.split("/")[0]
        index = seen[method]
        seen[method] += 1
        result[run] = {
            "color": colour(run),
            "marker": MARKERS[index % len(MARKERS)],
            "linestyle": DASHES[index % len(DASHES)],
        }
    return result


def say(ax, text: str) -> None:
    """Write text instead of data."""
    text = text.replace("$", r"\$")  # matplotlib measures wrapped text as mathematics, regardless of parse_math
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#666666", wrap=True)


def remark(figure: Figure, lines: list[str]) -> None:
    """Write small print below a figure."""
    figure.supxlabel("\n".join(lines), fontsize=SMALL, color="#555555", x=0.01, ha="left")


def save(figure: Figure, svg: str, png: str) -> None:
    """Save a figure without dates and versions, so that the same data give byte-identical files.

    A `$` in a label of the config is a dollar sign; only matplotlib's own ticks are mathematics.
    """
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        text.set_parse_math(text in ticks or text.get_wrap())
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    figure.savefig(png, dpi=150, metadata={"Software": None})
