"""The contents of a task's tables, figures and report."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from hra_workflow import ROOT, methods
from hra_workflow.core import grid
from hra_workflow.core.errors import each_once, expect
from hra_workflow.report.column_units import Unit, units
from hra_workflow.report.run_columns import TRAINING
from hra_workflow.tasks.metric import Metric
from hra_workflow.tasks.part import Part

# Columns of the tables' CSV files: those of a row, and those computed for a column, by the endings of their names.
# No column of the config has such a name.
OF_ROWS = {"method", "setting", "run", "selection", "preset", "n_seeds", "params_M", "params_M_published", "missing"}
ENDINGS = ("_std", "_n", "_published", "_difference", "_better", "_best", "_verdict", "_unseen")


class Table(Part):
    """A task's table, its figures and its part of the report.

    scale: factor applied to scores in tables.
    lambda_sources: the paper's figure and table with a sweep over λ.
    uncounted: the modules that are trained with an adapter but not counted in its parameters.
    notes: paragraphs below the Markdown table, next to the paper's numbers.
    identity: the entries of predictions.jsonl.gz that are the same for an item of every run.
    """

    scale: ClassVar[int] = 100
    lambda_sources: ClassVar[tuple[str, str]] = ("", "")
    uncounted: ClassVar[str] = ""
    notes: ClassVar[tuple[str, ...]] = ()
    identity: ClassVar[tuple[str, ...]] = ("item", "key", "gold", "label", "tokens")

    def published(self) -> dict | None:
        """Return the source of the published numbers of the task's table: the paper, the config's source, or None.

        `file`: its name; `label`, `notes`, `noise` by column; `first`: whether methods that it lacks are listed before
        its rows.
        """
        stated = self.settings.get("published")
        own = stated if isinstance(stated, dict) else {}
        paper = {"file": self.name, "label": "paper", "notes": list(self.notes), "noise": {}, "first": bool(own)}
        own = own | {"file": Path(own["file"]).stem} if own else {}
        return paper | own if stated else None

    def published_file(self, name: str) -> Path | None:
        """Return the CSV with the published numbers of a table or figure; only the paper has several for a task.

        The paper's are in config/published/; the path of another source is relative to the working directory, or else
        to the workflow's folder.
        """
        stated = self.settings.get("published")
        if not isinstance(stated, dict):
            return Path(ROOT, f"config/published/{name}.csv") if stated else None
        if name != self.name:
            return None
        places = [Path(stated["file"]), Path(ROOT, stated["file"])]
        return next((path for path in places if path.is_file()), places[-1])

    def names(self) -> list[str]:
        """Return the names of this task's tables."""
        return [self.name]

    def warnings(self) -> Iterable[str]:
        """List settings that change the meaning of this task's numbers, for the dry run."""
        return ()

    def without_answer_marker(self) -> list[str]:
        """Return the training sets for which strictly graded accuracy stays near 0."""
        return []

    # Names

    def check_runs(self) -> None:
        """Raise JobError for two columns or rows with one name, a wrong direction, or an average of unequal columns."""
        key, columns = f"config: tasks.{self.name}", self.settings["columns"]
        wide = [column["name"] for column in columns if "dataset" not in column]  # computed with one per dataset
        parts = [f"{name}: {dataset}" for name in wide for dataset in grid.datasets(self.config, self.name)]
        names = [*(column["name"] for column in columns), *grid.averages(self.config, self.name)]
        self.check_heads(f"{key}.columns and averages", names, parts)
        labels = grid.labels(self.config, self.name)
        each_once(f"{key}.grid: `label` of the variants", "label", labels.values())
        of_runs = [TRAINING, *([retention["benchmark"]] if (retention := self.task.evaluation.retention()) else [])]
        for dataset in grid.datasets(self.config, self.name):
            benchmarks = self.task.data.entry(dataset)["benchmarks"]
            each_once(f"config: datasets.{self.name}.{dataset}.benchmarks", "name", [*benchmarks, *of_runs])
        for column in grid.columns(self.config, self.name):
            for dataset in column.get("datasets") or [column["dataset"]]:
                self.check_direction(f"{key}.columns: {column['name']}", dataset, column)
        found = self.units()
        for name, members in grid.averages(self.config, self.name).items():
            described = {one: f"scale {found[one].scale:g}, better {found[one].better}" for one in members}
            expect(
                len({*described.values()}) == 1,
                f"{key}.averages: {name}: expected columns with one scale and one better direction, found "
                f"{', '.join(f'{one} ({text})' for one, text in described.items())}. Remove the columns that differ",
            )

    def check_heads(self, key: str, names: list[str], parts: Iterable[str] = ()) -> None:
        """Raise JobError if columns of a table's CSV file have the same name. `parts`: other names that must differ."""
        each_once(key, "name", [*names, *parts])
        for name in names:
            expect(
                name not in OF_ROWS and not name.endswith(ENDINGS),
                f"{key}: expected a name that is none of {', '.join(sorted(OF_ROWS))} and does not end in "
                f"{', '.join(ENDINGS)}, as computed columns do, found {name!r}. Change the name",
            )

    def check_direction(self, key: str, dataset: str, column: dict) -> None:
        """Raise JobError if a column states another better direction than its metric has."""
        known = self.task.evaluation.better(dataset, column["benchmark"], column["metric"])
        stated = column.get("better", "higher")
        expect(
            known in ("", stated),
            f"{key}: expected better: {known}, since {known} values of {column['metric']} are better, found "
            f"{stated}{' (the default)' * ('better' not in column)}. Write better: {known}",
        )

    def units(self) -> dict[str, Unit]:
        """Return the units of the table's columns and averages."""
        columns, averages = (found(self.config, self.name) for found in (grid.columns, grid.averages))
        return units({"columns": columns, "averages": averages, "scale": self.scale})

    # Comparison of runs

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple] | None:
        """Return the tuple of values per item from which a run's metric is computed; None if it is not from items.

        lines: those of predictions.jsonl.gz. settings: `comparison()`.
        """
        return [(line[metric],) for line in lines] if all(metric in line for line in lines) else None

    @classmethod
    def metric(cls, name: str) -> Metric:
        """Return a metric by its name: here, the mean of a column (n,) of `per_item`."""
        from hra_workflow.report import comparison

        better = "lower" if name == "loss" else "higher"
        return Metric(comparison.mean, name.replace("_", " "), better=better, error=comparison.error_of_mean)

    def versions(self, names: list[str]) -> dict:
        """Return `versions` of the custom metrics among `names`, which results depend on; {} without any."""
        custom = {name: self.metric(name).version for name in names if ":" in name}
        return {"versions": custom} if custom else {}

    def comparison(self) -> dict:
        """Return the settings that `per_item` depends on, and `labels`: the names of classes by dataset, if any."""
        return {}

    @classmethod
    def recorded_comparison(cls, settings: dict) -> dict:
        """Return `comparison()` as a metrics.json records it. settings: those of its entry `made_from`."""
        return {}

    # Items of two runs

    @classmethod
    def item(cls, line: dict) -> tuple:
        """Return the values of `identity` in a line, None for a missing one."""
        return tuple(line.get(name) for name in cls.identity)

    @classmethod
    def change(cls, first: dict, second: dict, score: str) -> float:
        """Return how much two predictions for an item differ: here, in the main metric; 0 if they are the same."""
        values = [line.get(score) for line in (first, second)]
        if None in values:  # a blocked image, or one without a face, has no score
            return math.inf if values[0] != values[1] else 0.0
        return abs(values[0] - values[1])

    # Predictions in the report

    @classmethod
    def example(cls, line: dict, dataset: dict) -> dict[str, str]:
        """Return the report's contents for an item, by heading.

        line: from predictions.jsonl.gz. dataset: its `metrics`, and its `columns` and `labels` if it has them.
        """
        scores = {name: line[name] for name in dataset["metrics"] if line.get(name) is not None}
        return {"prompt": line.get("prompt", "")} | {name: f"{value:.3g}" for name, value in scores.items()}

    # Equal for all tasks

    def results(self) -> list[str]:
        """List the tables, figures and contact sheets, as paths in the results folder."""
        paths = [f"table_{name}.csv" for name in self.names()]
        paths += [f"cost_{self.name}.csv"] if self.figures() else []
        paths += [f"figures/{self.name}_{figure}.png" for figure in self.figures()]
        if self.settings.get("tune"):
            paths += [f"tune_{self.name}.csv", f"figures/{self.name}_tuning.png"]
        if "sheets" in self.settings:
            paths += [f"sheets/{self.name}_{dataset}.png" for dataset in grid.datasets(self.config, self.name)]
        return paths

    def unshown(self) -> list[str]:
        """List the datasets of the grid without a column in the table, for the dry run."""
        columns = self.settings["columns"]
        if any("dataset" not in column for column in columns):
            return []
        shown = {column["dataset"] for column in columns}
        planned = [name for name in grid.datasets(self.config, self.name) if name not in shown]
        return [
            f"no column of tasks.{self.name}.columns shows {name}, so its runs are in no table and no figure. Add "
            f"{{name: {name}, dataset: {name}, benchmark: {next(iter(entry['benchmarks']))}, metric: {entry['score']}}}"
            for name in planned
            if (entry := self.task.data.entry(name))
        ]

    def figures(self) -> list[str]:
        """List the figures with contents: none if nothing is trained, and one over λ if it has two values."""
        if not any(methods.trains(self.config, run) for run in grid.run_names(self.config, self.name)):
            return []
        several = len({point["lambda"] for point in methods.lambdas(self.config, self.name).values()}) > 1
        sweep = ["lambda"] if several and self.settings["figures"]["lambda"] else []
        retention = ["stability"] if self.task.evaluation.retention() else []
        return ["parameters", "pareto", *retention, *sweep, "curves"]

    def verdicts(self) -> dict:
        """Return the settings of the sentences on differences: `columns`, `reference`, and `baselines`.

        The baselines are the trained ones, or the base model if there are none.
        """
        runs = [run for run in grid.run_names(self.config, self.name) if methods.trains(self.config, run)]
        baselines = [run for run in runs if methods.get(self.config, run.split("/")[0]).baseline]
        columns = self.settings["figures"]["parameters"]
        return {
            "columns": columns,
            "reference": self.settings.get("reference"),
            "baselines": baselines or self.base_runs(),
        }

    def base_runs(self) -> list[str]:
        """List every `method/variant` of the grid that is the base model."""
        entries = {run: methods.get(self.config, run.split("/")[0]) for run in grid.run_names(self.config, self.name)}
        return [run for run, entry in entries.items() if not entry.trains and not entry.real_images]
