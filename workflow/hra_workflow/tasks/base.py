"""The description of a task: facts, and the functions that rules, the plan and the tables call."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.errors import one_of
from hra_workflow.core.made_from import ROUNDING
from hra_workflow.tasks import datasets, training, work
from hra_workflow.tasks.metric import Metric


class Task:
    """A task, bound to a config. A subclass sets the task's name, and overrides what differs.

    name: as in paths and config.
    title: the heading in the report.
    keys: the module with the models of the keys of a dataset (`Dataset`) and of the task (`Settings`).
    architecture: the type of model that `augment` adapts; or `module:function`, which loads the model from a folder.
    selections: the checkpoints shown in tables; the first is that of the official code.
    required: hyper-parameters that every run needs besides training.REQUIRED; a tuple: exactly one of them.
    head_rate: whether the head may have a separate learning rate.
    has_sheets: whether its images are shown on contact sheets.
    per_process: whether a training depends on the number of processes, as dropout and the order of rows do.
    final_answer: the function (style, text) -> final answer of datasets with `answer`.
    own_rules: rules without a `task` wildcard that belong to this task.
    scale: factor applied to scores in tables.
    lambda_sources: the paper's figure and table with a sweep over λ.
    uncounted: the modules that are trained with an adapter but not counted in its parameters.
    identity: the entries of predictions.jsonl.gz that are the same for an item of every run.
    pipeline_tag: the Hub's name of a model's purpose.
    predicts_from: the new inputs that predictions need, as alternatives (requested_run.GIVEN).

    A bound task has the `config`, its entry there as `settings` ({} if it has none), and the entries of its data as
    `datasets`. A `run` is named `method/variant`, or is a dict of wildcards.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    keys: ClassVar[str]
    architecture: ClassVar[str]
    selections: tuple[str, ...] = ("last",)
    required: ClassVar[tuple[str | tuple[str, ...], ...]] = ()
    head_rate: ClassVar[bool] = False
    has_sheets: ClassVar[bool] = False
    per_process: ClassVar[bool] = True
    final_answer: ClassVar[Callable[[str, str], str] | None] = None
    own_rules: ClassVar[tuple[str, ...]] = ()
    scale: ClassVar[int] = 100
    lambda_sources: ClassVar[tuple[str, str]] = ("", "")
    uncounted: ClassVar[str] = ""
    identity: ClassVar[tuple[str, ...]] = ("item", "key", "gold", "label", "tokens")
    pipeline_tag: ClassVar[str] = ""
    predicts_from: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def __init__(self, config: dict):
        self.config = config
        self.settings = config["tasks"].get(self.name, {})
        self.datasets = config["datasets"].get(self.name, {})

    def runs(self) -> list[dict]:
        """Return the runs of the grid, in config order; [] for a task that is not in the config."""
        return grid.runs(self.config, self.name) if self.settings else []

    def check_settings(self) -> None:
        """Raise JobError for the first invalid setting, before the grid and the columns are checked."""

    def check_runs(self) -> None:
        """Raise JobError for the first invalid run, after the grid and the columns have been checked."""

    # Data: the defaults are those of tables of texts

    def entry(self, dataset: str) -> dict:
        """Return a dataset's entry with its `benchmarks`, their `metrics` and `score`, the metric for selection."""
        return self.datasets[dataset]

    def download(self, dataset: str) -> dict:
        """Return everything except the source that a dataset's download depends on; here, its conversion to tables."""
        return {key: value for key, value in self.datasets[dataset].items() if key in datasets.CONVERTED}

    def check_files(self, dataset: str, user_files: dict[str, Path], folder: Path) -> dict[str, dict]:
        """Check a dataset whose files `user_files` are in `folder`; raise JobError if it is unusable.

        Returns by split `rows`, their number, and `classes`, the number by label, if it has labels.
        """
        from hra_workflow.data import text_tables

        entry, name = self.download(dataset), f"{self.name}/{dataset}"
        return text_tables.counts(text_tables.read_splits(name, entry, folder, self.final_answer), entry)

    @classmethod
    def convert(cls, name: str, entry: dict, raw: Path, out: Path, user_files: dict[str, Path]) -> dict[str, int]:
        """Check a downloaded dataset; return its rows by split.

        entry: that of `download`. raw: the folder of its files, which stay as they are if the folder `out` stays empty;
        otherwise those in `out` replace them: here the tables of an entry with `splits`. user_files: the user's files,
        if these are the source.
        """
        from hra_workflow.data import text_tables

        if "splits" not in entry:
            return {}
        return text_tables.write(text_tables.read_splits(name, entry, raw, cls.final_answer), out)

    def check_entry(self, key: str, dataset: str) -> None:
        """Raise JobError if a dataset's entry is invalid; `key` is its key in the config."""
        entry = self.datasets[dataset]
        for of_splits in ("rows", "take"):
            for split in entry.get(of_splits, {}):
                one_of(f"{key}.{of_splits}", "split", split, entry["splits"])

    def probe(self, dataset: str, rows: int, hyperparameters: dict) -> tuple[dict[str, dict], dict] | None:
        """Return entries of synthetic datasets, and changes of the task's settings for one batch per stage.

        The entry `preflight` replaces `dataset`, with `rows` rows to train on. `hyperparameters`: those of the run
        that generates and is evaluated. Returns None if the task has no probe.
        """
        return None

    # Training

    def inputs(self, dataset: str) -> dict[str, str]:
        """Return the manifests of the model and of the training data of runs on a dataset."""
        resources, model = self.config["pathvars"]["resources"], self.settings["model"]
        return {
            "model": f"{resources}/models/{model}.manifest.json",
            "dataset": f"{resources}/datasets/{self.name}/{dataset}.manifest.json",
        }

    def hyperparameters(self, dataset: str, run: str) -> dict:
        """Return the hyper-parameters of `method/variant` on a dataset, without limits above its number of rows."""
        values = grid.hyperparameters(self.config, self.name, dataset, run)
        if "held_out" in values and (total := datasets.rows(self.datasets[dataset], "train")):
            values["held_out"] = training.without_idle_limit(values["held_out"], total)
        return values

    def relevant_hyperparameters(self, dataset: str, run: str) -> dict:
        """Return the hyper-parameters that training depends on, as its param; {} for runs that train nothing."""
        values = self.hyperparameters(dataset, run) if methods.trains(self.config, run) else {}
        return {key: value for key, value in values.items() if key not in ROUNDING}

    def errors_before(self, run: dict) -> list[str]:
        """Return the error files, in the scratch folder, of the jobs that precede the augmentation of a run."""
        return []

    def period(self, values: dict) -> int:
        """Return the number of steps after which their times recur: those that train on the same sampled data."""
        return 1

    # Generation: by default there is none

    def shards(self, wildcards: dict) -> int:
        """Return the number of jobs that generate a run's outputs for a benchmark; 0 if the task generates nothing."""
        return work.shards(self, self.settings.get("generation", {}).get("shards", 0), wildcards)

    def folder_of_shards(self, benchmark: str) -> str:
        """Return the folder, within a run's folder, of the shards with the outputs for a benchmark."""
        return benchmark

    # Evaluation

    def benchmarks(self, run: dict) -> list[str]:
        """Return the benchmarks of a run (`dataset`, `method`, `variant`, …)."""
        return [*self.entry(run["dataset"])["benchmarks"]]

    def evaluation_resources(self, wildcards: Mapping[str, str]) -> dict:
        """Return the resources of an evaluation."""
        return self.resources("evaluate", "evaluate")

    def scored_in_training(self, wildcards: Mapping[str, str]) -> bool:
        """Return whether the training job computes the scores of the items: the evaluation then needs no GPU."""
        return False

    def direction(self, dataset: str, metric: str) -> str:
        """Return which values of a metric are better, lower or higher; "": the table's column decides."""
        return self.metric(metric).better

    # Tables

    def tables(self) -> list[str]:
        """Return the names of this task's tables."""
        return [self.name]

    def warnings(self) -> Iterable[str]:
        """List settings that change the meaning of this task's numbers, for the dry run."""
        return ()

    @classmethod
    def metric(cls, name: str) -> Metric:
        """Return a metric by its name: here, the mean of a column (n,) of `per_item`."""
        from hra_workflow.report import comparison

        better = "lower" if name == "loss" else "higher"
        return Metric(comparison.mean, name.replace("_", " "), better=better, error=comparison.error_of_mean)

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple] | None:
        """Return the tuple of values per item from which a run's metric is computed; None if it is not from items.

        lines: those of predictions.jsonl.gz. settings: `comparison()`.
        """
        return [(line[metric],) for line in lines] if all(metric in line for line in lines) else None

    def comparison(self) -> dict:
        """Return the settings that `per_item` depends on, and `labels`: the names of classes by dataset, if any."""
        return {}

    # Plan, and the use of finished runs

    def resources(self, rule: str, stage: str) -> dict:
        """Return the config's `resources` for jobs of a stage."""
        section = {"generate": "generation", "evaluate": "evaluation"}.get(stage)
        return (self.settings.get(section) or self.settings).get("resources", {})

    def work(self, stage: str, wildcards: dict) -> float | None:
        """Return the number of rows that pass a training step (forward and backward); None if unknown."""
        return work.rows_of_job(self, stage, wildcards)

    def prediction(self, dataset: str, run: str) -> dict:
        """Return the settings, in addition to the run's record, that predictions of `method/variant` depend on."""
        return {}
