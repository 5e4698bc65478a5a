"""The interface of a task to the rules, the plan, the table and the figures. Subclasses override what differs.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, Literal

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.errors import one_of
from hra_workflow.evaluators import registry
from hra_workflow.tasks.contents import Contents
from hra_workflow.tasks.costs import Costs, rows, without_idle_limits
from hra_workflow.tasks.evaluations import Evaluations
from hra_workflow.tasks.usage import Usage

CONVERTED = ("splits", "read", "columns", "label", "labels", "answer", "rows", "take")
ROUNDING = ("eval_batch_size", "gradient_checkpointing")  # hyper-parameters that change results by rounding only
IDLE = {"gpu": 0, "threads": 1, "mem_mb": 4000, "runtime": 60}
REQUIRED = (
    "learning_rate",
    "schedule",
    "warmup_steps",
    "batch_size",
    "gradient_accumulation",
    "weight_decay",
    "max_grad_norm",
    "adam_epsilon",
    "precision",
)


class Task(Contents, Costs, Evaluations, Usage):
    """One task, bound to a config. `settings` is its config entry ({} if it has none), `datasets` those of its data.

    name: as in paths and config. title: the heading in the report. architecture: the type of model that `augment`
    inserts adapters into.
    selections: the checkpoints shown in tables, the paper's rule first. scale: factor applied to scores in tables.
    required: hyper-parameters that every run needs. automatic: those that may be `auto`.
    per_process: whether the results of training depend on the number of processes.
    lambda_sources: the paper's figure and table with a sweep over λ.
    uncounted: what is trained beside an adapter and not counted in its parameters.
    own_rules: rules without a `task` wildcard that belong to this task. notes: paragraphs below the Markdown table.
    For tasks that evaluate generated images: benchmark, the name of the only one; reference_images, what the images are
    compared with (evaluators/protocol.py).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    architecture: ClassVar[str]
    selections: tuple[str, ...] = ("last",)
    scale: ClassVar[int] = 100
    required: ClassVar[tuple[str, ...]] = ()
    automatic: ClassVar[tuple[str, ...]] = ()
    per_process: ClassVar[bool] = False
    lambda_sources: ClassVar[tuple[str, str]] = ("", "")
    uncounted: ClassVar[str] = ""
    own_rules: ClassVar[tuple[str, ...]] = ()
    notes: ClassVar[tuple[str, ...]] = ()
    benchmark: ClassVar[str]
    reference_images: ClassVar[Literal["references", "source"] | None] = None

    def __init__(self, config: dict):
        self.config = config
        self.settings = config["tasks"].get(self.name, {})
        self.datasets = config["datasets"].get(self.name, {})

    def runs(self) -> list[dict]:
        """Return the runs of the grid, in config order; [] for a task that is not in the config."""
        return grid.runs(self.config, self.name) if self.settings else []

    def trains(self, run: str) -> bool:
        """Return whether `method/variant` trains anything."""
        return methods.of(self.config, run.split("/")[0]).trains

    def hyperparameters(self, dataset: str, run: str) -> dict:
        """Return the hyper-parameters of `method/variant` on a dataset, without limits above its number of rows."""
        values = grid.hyperparameters(self.config, self.name, dataset, run)
        if "held_out" in values and (every := rows(self.datasets[dataset], "train")):
            values["held_out"] = without_idle_limits(values["held_out"], every)
        return values

    def training_settings(self, dataset: str, run: str) -> dict:
        """Return the hyper-parameters that training depends on, as its param; {} for what trains nothing."""
        values = self.hyperparameters(dataset, run) if self.trains(run) else {}
        return {key: value for key, value in values.items() if key not in ROUNDING}

    def preset(self, run: str) -> str | None:
        """Return the name of the preset of `method/variant`; "none" for what trains nothing."""
        return grid.preset(self.config, self.name, run) if self.trains(run) else "none"

    def processes(self, run: str) -> int | None:
        """Return the number of processes of training `method/variant` if its results depend on it, else None."""
        return max(1, self.training_resources(run)["gpu"]) if self.per_process and self.trains(run) else None

    def training_inputs(self, dataset: str) -> dict[str, str]:
        """Return the manifests of the model and of the data that the runs on a dataset are trained on."""
        resources, model = self.config["pathvars"]["resources"], self.settings["model"]
        return {
            "model": f"{resources}/models/{model}.manifest.json",
            "dataset": f"{resources}/datasets/{self.name}/{dataset}.manifest.json",
        }

    def training_resources(self, run: str) -> dict:
        """Return the resources of training `method/variant`: threads and memory in proportion to its GPUs.

        A run that trains nothing only checks its inputs, on one core.
        """
        stated = self.settings["resources"]
        if not self.trains(run):
            return stated | {name: min(stated[name], most) for name, most in IDLE.items()}
        gpu = min(stated["gpu"], grid.of_run(stated.get("max_gpu", {}), run) or stated["gpu"])
        if gpu == stated["gpu"]:
            return stated
        part = {name: -(-stated[name] * gpu // stated["gpu"]) for name in ("threads", "mem_mb")}
        return stated | part | {"gpu": gpu}

    # Data

    def dataset(self, name: str) -> dict:
        """Return a dataset's entry with its `benchmarks`, their `metrics` and `score`, the metric for selection."""
        return self.datasets[name]

    def image_dataset(self, name: str, metrics: list[str]) -> dict:
        """Return the entry of a dataset whose one benchmark is generated images, with the metrics of its evaluators."""
        benchmarks = {self.benchmark: self.benchmark}
        return self.datasets[name] | {"benchmarks": benchmarks, "metrics": metrics, "score": next(iter(metrics), None)}

    def download(self, name: str) -> dict:
        """Return what a dataset's download depends on besides its source; here: its conversion to text tables."""
        return {key: value for key, value in self.datasets[name].items() if key in CONVERTED}

    # A probe (make preflight)

    def probe(self, dataset: str, rows: int, settings: dict) -> tuple[dict[str, dict], dict] | None:
        """Return entries of synthetic datasets, and changes of the task's settings for one batch per stage.

        The entry `preflight` stands for `dataset`, with `rows` rows to train on. `settings`: the hyper-parameters of
        the run that generates and is evaluated. None: the task has no probe.
        """
        return None

    # Checks

    def check_settings(self) -> None:
        """Raise JobError for the first invalid setting, before the grid and the columns are checked."""

    def check_runs(self) -> None:
        """Raise JobError for the first invalid run, after the grid and the columns have been checked."""

    def check_dataset(self, place: str, name: str) -> None:
        """Raise JobError if a dataset's entry is invalid; `place` is its key in the config."""

    def check_evaluators(self) -> None:
        """Raise JobError if an evaluator lacks a required input, or has a key that its type does not use."""
        for entry in self.settings["evaluation"]["evaluators"]:
            place = f"config: tasks.{self.name}.evaluation.evaluators: {entry['name']}"
            registry.check(place, entry, self.reference_images)
            if "model" in entry:
                one_of(place, "model", entry["model"], self.config["models"])

    def warnings(self) -> Iterable[str]:
        """List settings that give this task's numbers a different meaning than a reader expects, for the dry run."""
        return ()

    # Evaluation of generated images

    def evaluators(self, dataset: str) -> list[dict]:
        """Return the config entries of the evaluators of a dataset's images."""
        return self.settings["evaluation"]["evaluators"]

    def evaluator_models(self, dataset: str) -> list[str]:
        """Return the models that the evaluators need."""
        return registry.models(self.evaluators(dataset))

    # Choices

    def choices(self) -> Iterable[str]:
        """List what the config leaves to this machine and what was chosen, as `name:  text`, for the dry run."""
        return ()

    def begin(self, rules: set[str]) -> None:
        """Record choices before jobs of these rules start; raise JobError if one of them is impossible here."""

    # Tables

    def tables(self) -> list[str]:
        """Return the names of this task's tables."""
        return [self.name]

    def results(self) -> list[str]:
        """List the tables, figures and contact sheets, as paths in the results folder."""
        names = [f"table_{name}.csv" for name in self.tables()]
        names += [f"cost_{self.name}.csv"] if self.figures() else []
        names += [f"figures/{self.name}_{figure}.png" for figure in self.figures()]
        if self.settings.get("tune"):
            names += [f"tune_{self.name}.csv", f"figures/{self.name}_tuning.png"]
        if "sheets" in self.settings:
            names += [f"sheets/{self.name}_{dataset}.png" for dataset in grid.datasets(self.config, self.name)]
        return names

    def figures(self) -> list[str]:
        """List the figures that have something to show: none if nothing is trained, over λ with two values of it."""
        if not any(self.trains(run) for run in grid.names(self.config, self.name)):
            return []
        several = len({one["lambda"] for one in methods.lambdas(self.config, self.name).values()}) > 1
        sweep = ["lambda"] if several and self.settings["figures"]["lambda"] else []
        retention = ["stability"] if self.retention() else []
        return ["parameters", "pareto", *retention, *sweep, "curves"]

    def without_answer_marker(self) -> list[str]:
        """Return the training sets for which strictly graded accuracy stays near 0."""
        return []

    # Comparison of runs

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple] | None:
        """Return what a metric of a run is computed from: a tuple of values per item; None if it is not from items.

        lines: those of predictions.jsonl.gz. settings: `comparison()`.
        """
        return [(line[metric],) for line in lines] if all(metric in line for line in lines) else None

    @classmethod
    def statistic(cls, metric: str) -> Callable[..., float]:
        """Return the function that computes a metric from the columns (n,) of `per_item`."""
        from hra_workflow.report import comparison

        return comparison.mean

    def comparison(self) -> dict:
        """Return the settings that `per_item` depends on."""
        return {}

    # Predictions in the report

    def inputs(self, dataset: str, benchmark: str) -> str | None:
        """Return the Parquet file with the items' inputs, in order; None: predictions.jsonl.gz contains them."""
        return None

    @classmethod
    def example(cls, line: dict, row: dict, dataset: dict) -> dict[str, str]:
        """Return what the report shows of an item, by heading.

        line: of predictions.jsonl.gz. row: of the file of `inputs`, {} if there is none. dataset: its `metrics`, and
        its `columns` and `labels` if it has them.
        """
        scores = {name: line[name] for name in dataset["metrics"] if line.get(name) is not None}
        return {"prompt": line.get("prompt", "")} | {name: f"{value:.3g}" for name, value in scores.items()}

    # Failures

    def folder_of_shards(self, benchmark: str) -> str:
        """Return the folder, below a run's, of the shards that contain the outputs for a benchmark."""
        return benchmark

    def errors_before(self, run: dict) -> list[str]:
        """Return the error files of the jobs that precede the augmentation of a run."""
        return []


def generated(function: str, **arguments) -> dict:
    """Return a source that calls a function of hra_workflow/data/synthetic.py."""
    return {"kind": "init", "generator": f"hra_workflow.data.synthetic:{function}"} | arguments


def scratch(config: dict, *parts: str) -> str:
    """Return a path under the folder of training checkpoints and of errors."""
    return str(Path(config["pathvars"]["scratch"], *parts))
