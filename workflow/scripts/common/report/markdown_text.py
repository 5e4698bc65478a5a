"""Tables and free text, such as labels of the config, in Markdown files."""

import re

from tabulate import tabulate

# What starts markup, in GitHub's dialect: also a cell's end, HTML and mathematics. Within a word `_` is itself.
MARKUP = re.compile(r"[\\`*|<$~\[&]|(?<![^\W_])_|_(?![^\W_])")


def plain(text: str) -> str:
    """One line of Markdown that shows `text` as it is."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def table(lines: list[list[str]], align: list[str]) -> str:
    """A table of texts that are shown as they are; the first line is its heading. `align`: left or right, a column."""
    cells = [[plain(cell) for cell in line] for line in lines]
    return tabulate(cells, headers="firstrow", tablefmt="pipe", colalign=align, disable_numparse=True)
