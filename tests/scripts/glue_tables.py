"""Tables of a grid of glue runs, from synthetic records."""

import pandas as pd

import collect_runs
import factories
import table
from hra_workflow.report import run_statistics
from support import ROOT

PUBLISHED = ROOT / "config/published/glue.csv"


def grid(folder, datasets=("cola",), runs=("hra/r8",), seeds=(0, 1, 2)) -> list[dict]:
    return [factories.entry(folder, *key) for key in [(d, r, s) for r in runs for d in datasets for s in seeds]]


def collect(folder, expected, made=None, scores=factories.noisy_curve, **options) -> pd.DataFrame:
    """Write the files of the runs in `made` (all by default) and collect them."""
    paths = [factories.write(folder, run, scores(run)) for run in (expected if made is None else made)]
    collect_runs.main(factories.collect_job(folder, expected, paths, **options))
    return run_statistics.read_csv(folder / "runs_glue.csv")


def make_table(folder, expected, published=PUBLISHED) -> pd.DataFrame:
    table.main(factories.table_job(folder, expected, published))
    return run_statistics.read_csv(folder / "table_glue.csv")


def line(made: pd.DataFrame, run: str, selection: str = "best_on_dev") -> pd.Series:
    (row,) = [row for _, row in made.iterrows() if (row["run"], row["selection"]) == (run, selection)]
    return row


def by_seed(values: list[float]):
    return lambda run: [0.1, values[run["seed"]], values[run["seed"]] - 0.05]
