"""The numbers of a folder's runs next to those of their published row, as the table of their task compares them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from hra_results.states.saved_runs import Run
from hra_workflow import ROOT, tasks
from hra_workflow.config import overlays, validation
from hra_workflow.core import grid
from hra_workflow.core.errors import JobError, expect
from hra_workflow.report import run_statistics
from hra_workflow.report.run_columns import OF_TRAINING
from hra_workflow.tasks import columns as task_columns
from hra_workflow.tasks import outputs
from hra_workflow.tasks.base import Task


@dataclass(frozen=True)
class Published:
    """A column of the table for a run, in its units. cell: the row of the file; ours: `mean`, `std` and `n` over seeds.

    params_M: the millions of parameters of our adapter.
    """

    column: str
    cell: dict[str, str]
    ours: dict[str, float]
    params_M: str

    @property
    def difference(self) -> float:
        """Return the published value minus ours."""
        return float(self.cell["value"]) - self.ours["mean"]

    @property
    def decimals(self) -> int:
        return len(self.cell["value"].partition(".")[2])

    @property
    def equal(self) -> bool:
        """Return whether our mean rounds to the published value."""
        return abs(self.difference) <= 0.5 * 10.0**-self.decimals


def compare(state: dict[str, Run], configs: Sequence[str]) -> list[Published]:
    """Compare the runs of a state with their published rows. configs: config files over the shipped ones."""
    config = read_config(configs)
    found = []
    for name in dict.fromkeys(run.record["task"] for run in state.values()):
        expect(
            name in config["tasks"], f"expected a config with tasks.{name}, found none. Pass the --config of the runs."
        )
        task = tasks.load(config)[name]
        file = outputs.published_file(task, name)
        expect(
            bool(file),
            f"tasks.{name}.published: expected a source of published numbers in the config, found none: the model or "
            "the data are not the paper's. Pass the --config of runs that have one.",
        )
        runs = [run for run in state.values() if run.record["task"] == name]
        found += compare_task(task, str(file), runs)
    return found


def read_config(paths: Sequence[str]) -> dict:
    """Merge config files over those of the workflow's folder."""
    shipped = [Path(ROOT, "config", f"{name}.yaml") for name in ("config", "methods")]
    expect(
        shipped[0].exists(),
        f"published: expected the workflow's config, found no {shipped[0]}. Compare in a clone of the project, where "
        "hra_workflow is installed with `pip install -e`.",
    )
    shipped += [file for name in tasks.classes() for file in sorted(Path(ROOT, "config", name).glob("*.yaml"))]
    try:
        own = [content for _, content in overlays.with_extended(map(Path, paths), overlays.read)]
        config = overlays.merged(*map(overlays.read, shipped), *own)
    except yaml.YAMLError as problem:
        raise JobError(str(problem)) from problem
    overlays.finish_merge(config, own)
    validation.check(config)
    return config


def compare_task(task: Task, path: str, runs: list[Run]) -> list[Published]:
    """Compare the runs of a task with the file `path` of published numbers; raise JobError if it has none of them."""
    key, columns = f"tasks.{task.name}", grid.columns(task.config, task.name)
    published = run_statistics.read_published(path)
    names = list(dict.fromkeys("/".join(run.name.split("/")[2:]) for run in runs))
    rows = published[published["run"].isin(names)]
    known = ", ".join(dict.fromkeys(published["run"]))
    expect(len(rows) > 0, f"{path}: expected a row of {', '.join(names)}, found only {known}. Compare one of these.")
    table = run_table(runs)
    ours = run_statistics.summary(run_statistics.scores(table, task_columns.parts(task))).to_dict("index")
    theirs = run_statistics.counterparts(published, columns, grid.averages(task.config, task.name))
    found = []
    for row, column in theirs:
        cells = rows[(rows["row"] == row) & (rows["column"] == run_statistics.scale_free(column))]
        for cell in cells.to_dict("records"):
            if mean := ours.get((cell["run"], task.selections[0], column)):
                params = table[table["run"] == cell["run"]]["adapter_parameters"].mean() / 1e6
                found.append(Published(column, cell, mean, run_statistics.number(params, 3)))
    datasets = ", ".join(dict.fromkeys(run.record["dataset"] for run in runs))
    shown = ", ".join(column["name"] for column in columns)
    expect(
        bool(found),
        f"{path}: expected a published value for {', '.join(names)} on {datasets} in a column of {key}.columns "
        f"({shown}), found none. Pass the --config of these runs, and for an average the folder of all its datasets.",
    )
    return found


def run_table(runs: list[Run]) -> pd.DataFrame:
    """Build the rows of the run table that run_statistics reads."""
    rows = [
        {name: run.record.get(name) for name in ("dataset", "seed", "status", "adapter_parameters", *OF_TRAINING)}
        | {"run": "/".join(run.name.split("/")[2:]), "benchmark": benchmark}
        | {"selection": selection, "metric": metric, "value": value}
        for run in runs
        for benchmark in run.metrics
        for (selection, metric), value in run.values(benchmark).items()
    ]
    expect(bool(rows), "expected a run with results, found none. Finish the runs first (hra-workflow run).")
    return pd.DataFrame(rows)
