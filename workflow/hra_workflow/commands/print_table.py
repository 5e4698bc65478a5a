"""Print tables to the terminal.

    python -m hra_workflow.commands.print_table results/table_glue.csv

Each cell has our mean, its standard deviation over seeds, and below them the difference to the published value; bold
values are those of table_{task}.md. The difference of each trained run to the reference is
below the table.
"""

import shutil
import sys
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hra_workflow import tasks
from hra_workflow.report import selections
from hra_workflow.report.run_statistics import read_csv, readable

PARAMETERS_WIDTH, CELL_WIDTH = 7, 13


def cell(row: pd.Series, name: str) -> Text:
    """Return our value, or the published one in italics if we have no such run."""
    if not row["run"]:
        return Text(row[f"{name}_published"], style="dim italic")
    if not row[name]:
        return Text("–" if row[f"{name}_n"] else "", style="red")  # missing, not in the grid, or without a value
    text = Text(row[name], style="bold" if row[f"{name}_best"] else "")
    if row[f"{name}_std"]:
        text.append(f" ±{row[f'{name}_std']}", style="not bold dim")
    if difference := row[f"{name}_difference"]:
        sign = "" if difference.startswith("-") else "+"
        text.append(f"\n{sign}{difference}".replace("-", "−"), style="not bold " + ("cyan" if sign else "yellow"))
    return text


def render(table: pd.DataFrame, width: int) -> list[Table]:
    """Build one table, or several with the columns distributed over them if the terminal is narrow."""
    names = [name for name in table.columns if f"{name}_best" in table.columns]
    labels = [f"{row['method']} {readable(row['setting'])}".strip() for _, row in table.iterrows()]
    room = width - PARAMETERS_WIDTH - 3 - max(map(len, labels))  # edges and rules take one character each
    per_block = max(1, room // (CELL_WIDTH + 1))
    blocks = []
    for first in range(0, len(names), per_block):
        block = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
        block.add_column("")
        block.add_column("Params (M) ↓", justify="right", width=PARAMETERS_WIDTH)
        for name in names[first : first + per_block]:
            arrow = "↓" if (table[f"{name}_better"] == "lower").all() else "↑"
            block.add_column(Text(f"{name} {arrow}"), justify="right", width=CELL_WIDTH, overflow="fold")
        for label, (_, row) in zip(labels, table.iterrows(), strict=True):
            cells = [cell(row, name) for name in names[first : first + per_block]]
            style = "" if row["run"] else "dim italic"
            block.add_row(Text(label, style=style), row["params_M"] or row["params_M_published"], *cells)
        blocks.append(block)
    return blocks


def show(path: Path, console: Console) -> None:
    """Print one table: the checkpoints of its first selection."""
    table = read_csv(path)
    if "selection" not in table:  # compute, retention
        console.print(Markdown(path.with_suffix(".md").read_text(encoding="utf-8")))
        return
    selection = table["selection"].iloc[0]
    part = table[table["selection"] == selection]
    titles = selections.name_splits(["the reported data"], selections.TITLES)
    compared = any((part[name] != "").any() for name in part.columns if name.endswith("_difference"))
    task = tasks.classes().get(path.stem.removeprefix("table_"), tasks.Task)
    unit = ", percent" if task.scale == 100 else ""
    title = f"{path.stem}, {titles[selection].lower()}{unit}"
    title += ": ours ± std over seeds, below it ours − published" if compared else ": mean ± std over seeds"
    console.print(title, style="bold", markup=False, highlight=False)
    for block in render(part, console.width):
        console.print(block)
    sentences = {name: [text for text in part[name] if text] for name in part.columns if name.endswith("_verdict")}
    for name, texts in sentences.items():
        if texts:
            console.print(f"{name.removesuffix('_verdict')}:", style="bold", markup=False, highlight=False)
            console.print(*(Padding(Text(f"{text}."), (0, 0, 0, 2)) for text in texts), sep="")
    for _, row in part[part["missing"] != ""].iterrows():
        console.print(
            f"  missing: {row['method']} {readable(row['setting'])}: {row['missing']}", style="red", markup=False
        )


def main() -> None:
    console = Console(width=shutil.get_terminal_size((140, 24)).columns)
    for path in map(Path, sys.argv[1:]):
        show(path, console)
        text = f"Notes: {path.with_suffix('.md')}; figures, records and other files: {path.parent}/ (docs/results.md)"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
