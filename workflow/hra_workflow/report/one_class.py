"""Runs that predict the same class for every item: their score is that class's fraction and shows no learning."""

import pandas as pd

from hra_workflow.report import run_statistics

PREDICTS = "predicts one class for every item"
COLUMNS = ["dataset", "benchmark", "selection", "run", "class", "n_seeds", "of_seeds"]


def rows(dataset: str, benchmark: str, selection: str, predicted: list[tuple[str, str | None]]) -> list[list]:
    """Build the rows of one_class_{task}.csv for one benchmark: the runs with a seed that predicts only one class.

    predicted: for every run and seed, the run and its only class, or None.
    """
    table = pd.DataFrame(predicted, columns=["run", "class"])
    return [
        [dataset, benchmark, selection, run, " or ".join(seeds["class"].dropna().unique()), count, len(seeds)]
        for run, seeds in table.groupby("run", sort=False)
        if (count := int(seeds["class"].notna().sum()))
    ]


def by_column(found: pd.DataFrame, params: dict) -> dict[tuple[str, str], dict[str, str]]:
    """Return by selection, column and run the description of these runs; an average has those of all its columns.

    found: one_class_{task}.csv, as text. params: its `columns`, `averages` and `selections`.
    """
    single, averages = run_statistics.expand_columns(params["columns"], params["averages"])
    places = {column["name"]: {(column["dataset"], column["benchmark"])} for column in single}
    places |= {name: set().union(*(places[member] for member in members)) for name, members in averages.items()}
    ordered = found.sort_values("n_seeds", key=pd.to_numeric)  # for an average, use the column with the most seeds
    return {
        (selection, name): {
            row["run"]: phrase(row)
            for row in ordered.to_dict("records")
            if row["selection"] == selection and (row["dataset"], row["benchmark"]) in own
        }
        for selection in params["selections"]
        for name, own in places.items()
    }


def phrase(row: dict) -> str:
    """Describe a run from its row of the table, as text."""
    return f"{PREDICTS} in {row['n_seeds']} of {row['of_seeds']} seed{'s' * (row['of_seeds'] != '1')}"


def notes(found: pd.DataFrame, labels: dict[str, str]) -> list[str]:
    """Name these runs, without Markdown. labels: the labels by `method/variant`."""
    every = [
        f"{labels[row['run']]} ({row['dataset']} {row['benchmark']}, {row['selection']}) {phrase(row)} ({row['class']})"
        for row in found.to_dict("records")
        if row["run"] in labels
    ]
    return [f"{'; '.join(every)}. Such a score is the fraction of that class."] * bool(every)
