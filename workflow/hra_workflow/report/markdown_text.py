"""Tables and escaped free text, such as labels in the config, for Markdown files."""

import re

from tabulate import tabulate

# Characters that start markup in GitHub's dialect, including cell ends, HTML and mathematics, but not `_` within a word
# or in `p < 0.05`, and not the `[` of an interval.
MARKUP = re.compile(r"[\\`*|$~&]|<(?! )|\[(?!−?[\d.]+, −?[\d.]+\](?![\[(:]))|(?<![^\W_])_|_(?![^\W_])")


def plain(text: str) -> str:
    """Escape `text` as one line of Markdown that renders it literally."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


class Bold(str):
    """Literal text that a table shows in bold."""


def table(lines: list[list[str]], align: list[str]) -> str:
    """Format a table of literal texts; the first line is the heading. `align`: left or right, per column."""
    cells = [[f"**{plain(cell)}**" if isinstance(cell, Bold) else plain(cell) for cell in line] for line in lines]
    return tabulate(cells, headers="firstrow", tablefmt="pipe", colalign=align, disable_numparse=True)


def two_sources(lines: list[list[str]], align: list[str]) -> str:
    """Format a table whose second column is `ours` or the source, without that column if the source has no value."""
    if {line[1] for line in lines} <= {"", "ours"}:
        lines, align = [line[:1] + line[2:] for line in lines], align[1:]
    return table(lines, align) + "\n"
