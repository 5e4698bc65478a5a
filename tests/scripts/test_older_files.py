"""The files listed below a printed table are marked if they are older than the runs."""

import re
import sys
from pathlib import Path

from hra_workflow.commands import print_table
from hra_workflow.core import files

RUNS = ["(older than the runs: hra-workflow run)"]


def marks(folder: Path, monkeypatch, capsys) -> dict[str, list[str]]:
    """Print the table and return the marks of the listed files by name."""
    monkeypatch.setattr(sys, "argv", ["print_table.py", str(folder / "table_x.csv")])
    print_table.main()
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if str(folder) in line]
    return {Path(path).name: re.findall(r"\(older than .*\)", what) for path, what in lines}


def write(folder: Path, value: int) -> None:
    """Write the runs and the table."""
    files.write_text(folder / "runs_x.csv", f"a\n{value}\n")
    for name in ("table_x.csv", "table_x.md"):
        files.write_text(folder / name, f"a\n{value}\n")


def test_files_older_than_the_runs_are_marked(tmp_path, monkeypatch, capsys):
    write(tmp_path, 1)
    (tmp_path / "figures").mkdir()
    for name in ("cost_x.md", "figures/x_parameters.png"):
        (tmp_path / name).touch()
    files.write_text(tmp_path / "cost_x.csv", "b\n")
    names = {"table_x.csv", "table_x.md", "runs_x.csv", "cost_x.md", "x_parameters.png"}
    assert marks(tmp_path, monkeypatch, capsys) == {name: [] for name in names}
    write(tmp_path, 2)
    found = marks(tmp_path, monkeypatch, capsys)
    assert {name: mark for name, mark in found.items() if mark} == dict.fromkeys(
        ["cost_x.md", "x_parameters.png"], RUNS
    )
