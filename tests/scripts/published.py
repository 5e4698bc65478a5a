"""The published numbers, ours and the paper's."""

import pandas
import pytest

from hra_workflow.report import run_statistics
from support import ROOT, SHARED

PUBLISHED = ROOT / "config/published"
PAPER = SHARED / "paper/tables"
needs_paper = pytest.mark.skipif(not PAPER.exists(), reason=f"{PAPER} is not on this machine")
NAMES = ["ARC", "HellaSwag", "MMLU", "Winogrande", "HumanEval"]


def published(name: str, *columns: str) -> list[tuple]:
    return list(run_statistics.read_csv(PUBLISHED / f"{name}.csv")[list(columns)].itertuples(index=False, name=None))


def paper(name: str) -> list[dict]:
    return run_statistics.read_csv(PAPER / f"{name}.csv").to_dict("records")


def line(made: pandas.DataFrame, run: str) -> pandas.Series:
    (row,) = [row for _, row in made.iterrows() if row["run"] == run]
    return row
