"""The base of tasks that evaluate generated images."""

from typing import ClassVar, Literal

from hra_workflow import methods
from hra_workflow.core.errors import each_once, expect, one_of
from hra_workflow.evaluators import registry
from hra_workflow.models import diffusion
from hra_workflow.tasks.base import Task

ROW = ("key", "step", "prompt_index", "prompt", "index", "seed", "blocked")  # other entries of a line of predictions
ROW += ("stderr", "n_items", "eval_seconds", "backend", "serve")  # other columns of a benchmark in the report


class ImageTask(Task):
    """A task whose only benchmark is generated images, with the metrics of its evaluators; noise is sampled per row.

    benchmark: the name of the only benchmark.
    reference_images: the type of images that they are compared with (evaluators/protocol.py).
    architectures: the architectures of models that it can train (models/diffusion).
    """

    benchmark: ClassVar[str]
    reference_images: ClassVar[Literal["references", "source"]]
    architectures: ClassVar[tuple[str, ...]] = tuple(diffusion.ARCHITECTURES)
    scale = 1
    per_process = False
    has_sheets = True

    def entry(self, dataset: str) -> dict:
        benchmarks, metrics = {self.benchmark: self.benchmark}, self.image_metrics(dataset)
        score = next(iter(metrics), None)
        return self.datasets[dataset] | {"benchmarks": benchmarks, "metrics": metrics, "score": score}

    def model_architecture(self) -> str | None:
        """Return the architecture of the task's model (models/diffusion); None if unknown before the download."""
        return diffusion.of_model(self.config, self.settings["model"])

    def evaluators(self, dataset: str) -> list[dict]:
        """Return the config entries of the evaluators of a dataset's images."""
        return self.settings["evaluation"]["evaluators"]

    def evaluator_models(self, dataset: str) -> list[str]:
        """Return the models that the evaluators need."""
        return registry.models(self.evaluators(dataset))

    def image_metrics(self, dataset: str) -> list[str]:
        """Return the metrics of a dataset's images."""
        return registry.metrics(self.evaluators(dataset))

    def direction(self, dataset: str, metric: str) -> str:
        return "lower" if metric == "blocked" else registry.directions(self.evaluators(dataset))[metric]

    def sheet_runs(self, dataset: str, real: bool = False) -> list[dict]:
        """Return the runs with a dataset's first seed that generate images, which are on its contact sheet.

        real: return those that score the real images instead.
        """
        runs = [run for run in self.runs() if run["dataset"] == dataset]
        runs = [run for run in runs if run["seed"] == runs[0]["seed"]]
        return [run for run in runs if methods.get(self.config, run["method"]).real_images == real]

    def check_settings(self) -> None:
        """Raise JobError if an evaluator lacks a required input, or has a key that its type does not use."""
        place, entries = f"config: tasks.{self.name}.evaluation.evaluators", self.settings["evaluation"]["evaluators"]
        each_once(place, "name", [entry["name"] for entry in entries])
        for entry in entries:
            key = f"{place}: {entry['name']}"
            registry.check(key, entry, self.reference_images)
            if "model" in entry:
                one_of(key, "model", entry["model"], self.config["models"])
        each_once(place, "metric", [*registry.metrics(entries), *ROW])

    def check_runs(self) -> None:
        known = ", ".join(diffusion.ARCHITECTURES[name].title for name in self.architectures)
        expect(
            self.model_architecture() in (None, *self.architectures),
            f"config: tasks.{self.name}.model: expected a model of {known}, found {self.settings['model']}, which is "
            f"{self.model_architecture()}. Use another model, or the task subject",
        )
