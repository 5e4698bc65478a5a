"""Print tables to the terminal.

    python -m hra_workflow.commands.print_table results/table_glue.csv

Each cell has our mean, its standard deviation over seeds, and the difference to the published value; `**` marks the
bold values of table_{task}.md, and `*` the published values of methods that the grid does not have. The difference of
each trained run to the reference is below the table.
"""

import shutil
import sys
import textwrap
from pathlib import Path

import pandas as pd

from hra_workflow import tasks
from hra_workflow.report import selections
from hra_workflow.report.run_statistics import read_csv, readable, signed


def cell(row: pd.Series, name: str) -> str:
    """Return our value, or the published one if we have no such run."""
    published, difference = row[f"{name}_published"], row[f"{name}_difference"]
    if not row["run"]:
        return f"{published}*" * bool(published)
    if not row[name]:
        return "–" if row[f"{name}_n"] else ""  # missing; else not in the grid, or without a value
    text = row[name] + (f" ±{row[f'{name}_std']}" if row[f"{name}_std"] else "")
    text = f"**{text}**" if row[f"{name}_best"] else text
    return f"{text} ({signed(difference)})" if difference else text


def render(table: pd.DataFrame, width: int) -> str:
    """Format a table; the columns are distributed over several blocks if the terminal is narrow."""
    labels = [f"{row['method']} {readable(row['setting'])}".strip() for _, row in table.iterrows()]
    columns = {"Params (M) ↓": list(table["params_M"].where(table["params_M"] != "", table["params_M_published"]))}
    for name in (name for name in table.columns if f"{name}_best" in table.columns):
        arrow = "↓" if (table[f"{name}_better"] == "lower").all() else "↑"
        columns[f"{name} {arrow}"] = [cell(row, name) for _, row in table.iterrows()]
    return pd.DataFrame(columns, index=labels).to_string(line_width=width)


def show(path: Path, width: int) -> None:
    """Print one table: the checkpoints of its first selection."""
    table = read_csv(path)
    if "selection" not in table:  # compute, retention
        print(path.with_suffix(".md").read_text(encoding="utf-8"))
        return
    selection = table["selection"].iloc[0]
    part = table[table["selection"] == selection]
    titles = selections.name_splits(["the reported data"], selections.TITLES)
    compared = any((part[name] != "").any() for name in part.columns if name.endswith("_difference"))
    task = tasks.classes().get(path.stem.removeprefix("table_"), tasks.Task)
    unit = ", percent" if task.scale == 100 else ""
    ending = " (ours − published); *: published" if compared else ""
    title = f"{path.stem}, {titles[selection].lower()}{unit}: mean ± std over seeds{ending}"
    print(textwrap.fill(title, width), render(part, width), sep="\n\n", end="\n\n")
    lines = []
    for name in (name for name in part.columns if name.endswith("_verdict")):
        if texts := [f"  {text}." for text in part[name] if text]:
            lines += [f"{name.removesuffix('_verdict')}:", *texts]
    missing = part[part["missing"] != ""]
    lines += [
        f"  missing: {row['method']} {readable(row['setting'])}: {row['missing']}" for _, row in missing.iterrows()
    ]
    for line in lines:
        print(textwrap.fill(line, width, subsequent_indent="    "))


def main() -> None:
    width = shutil.get_terminal_size((140, 24)).columns
    for path in map(Path, sys.argv[1:]):
        show(path, width)
        print(f"Notes: {path.with_suffix('.md')}; figures, records and other files: {path.parent}/ (docs/results.md)\n")


if __name__ == "__main__":
    main()
