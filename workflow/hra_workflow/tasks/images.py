"""The parts of a task that evaluates generated images."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from hra_workflow.core.errors import each_once, expect, one_of
from hra_workflow.evaluators import registry
from hra_workflow.models import diffusion
from hra_workflow.tasks.cost import Cost
from hra_workflow.tasks.data import Data
from hra_workflow.tasks.evaluation import Evaluation
from hra_workflow.tasks.training import Training

ROW = ("key", "step", "prompt_index", "prompt", "index", "seed", "blocked")  # other entries of a line of predictions
ROW += ("stderr", "n_items", "eval_seconds", "backend", "serve")  # other columns of a benchmark in the report
PNG_BYTES = 1.6  # per pixel of a real image at 512 × 512: COCO's take 1.5, and fast compression adds 7 %


class ImageData(Data):
    """Datasets whose only benchmark is generated images, with the metrics of its evaluators."""

    def entry(self, name: str) -> dict:
        benchmark, metrics = self.task.evaluation.benchmark, self.task.evaluation.metrics(name)
        benchmarks, score = {benchmark: benchmark}, next(iter(metrics), None)
        return self.datasets[name] | {"benchmarks": benchmarks, "metrics": metrics, "score": score}


class ImageTraining(Training):
    """A training whose noise is sampled per row.

    architectures: the architectures of models that it can train.
    """

    per_process = False
    architectures: ClassVar[tuple[str, ...]] = tuple(diffusion.ARCHITECTURES)

    def waits(self, micro_batches: int, processes: int) -> dict[str, int]:
        """Return the waits for the loss, which ends a diverged run, and for its mean over the processes."""
        return {"training/diffusion_trainer.py": micro_batches + 2 * (processes > 1)}

    def architecture(self) -> str | None:
        """Return the architecture of the task's model (models/diffusion); None if unknown before the download."""
        return diffusion.of_model(self.config, self.settings["model"])

    def check_runs(self) -> None:
        known = ", ".join(diffusion.ARCHITECTURES[name].title for name in self.architectures)
        expect(
            self.architecture() in (None, *self.architectures),
            f"config: tasks.{self.name}.model: expected a model of {known}, found {self.settings['model']}, which is "
            f"{self.architecture()}. Use another model, or the task subject",
        )


class ImageEvaluation(Evaluation):
    """The evaluation of generated images.

    benchmark: the name of the only benchmark.
    reference_images: the type of images that they are compared with (evaluators/protocol.py).
    """

    benchmark: ClassVar[str]
    reference_images: ClassVar[Literal["references", "source"]]

    def evaluators(self, dataset: str) -> list[dict]:
        """Return the config entries of the evaluators of a dataset's images."""
        return self.settings["evaluation"]["evaluators"]

    def metrics(self, dataset: str) -> list[str]:
        """Return the metrics of a dataset's images."""
        return registry.metrics(self.evaluators(dataset))

    def better(self, dataset: str, benchmark: str, metric: str) -> str:
        if benchmark != self.benchmark:
            return super().better(dataset, benchmark, metric)
        return "lower" if metric == "blocked" else registry.directions(self.evaluators(dataset))[metric]

    def models(self, dataset: str) -> list[str]:
        """Return the models that the evaluators need."""
        return registry.models(self.evaluators(dataset))

    def resources(self, wildcards: Mapping[str, str]) -> dict:
        """Return the resources of an evaluation, without GPUs if all evaluators compute on the CPU."""
        resources, evaluators = super().resources(wildcards), self.evaluators(wildcards["dataset"])
        on_gpu = "device" in resources or any(registry.find(entry["kind"]).needs.gpu for entry in evaluators)
        return resources if on_gpu else resources | {"gpu": 0}

    def check_settings(self) -> None:
        """Raise JobError if an evaluator lacks a required input, or has a key that its type does not use."""
        place, entries = f"config: tasks.{self.name}.evaluation.evaluators", self.settings["evaluation"]["evaluators"]
        for entry in entries:
            key = f"{place}: {entry['name']}"
            registry.check(key, entry, self.reference_images)
            if "model" in entry:
                one_of(key, "model", entry["model"], self.config["models"])
        each_once(place, "metric", [*registry.metrics(entries), *ROW])


class ImageCost(Cost):
    """The cost of the jobs that generate and evaluate images."""

    def output_bytes(self, stage: str, wildcards: dict, downloaded: float | None) -> dict[str, float | None]:
        if stage != "gather":
            return {}
        images = self.work("generate", wildcards | {"n_shards": 1})
        return {"generated images": images and images * PNG_BYTES * self.settings["resolution"] ** 2}
