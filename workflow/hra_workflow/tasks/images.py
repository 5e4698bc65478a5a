"""The parts of a task that evaluates generated images: its evaluators, and drift, the retention of these tasks.

Drift is the distance of a run's images of class prompts from the base model's.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from hra_workflow import methods
from hra_workflow.core import strength_names
from hra_workflow.core.errors import each_once, expect, one_of
from hra_workflow.evaluators import registry
from hra_workflow.models import diffusion
from hra_workflow.tasks.cost import FORWARD, Cost
from hra_workflow.tasks.data import Data
from hra_workflow.tasks.evaluation import Evaluation
from hra_workflow.tasks.generation import Generation
from hra_workflow.tasks.training import Training

DRIFT = "drift"  # the key of the config, and the benchmark
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


class ImageGeneration(Generation):
    """The generation of images.

    drift_sampler: `module:class` that generates images of class prompts.
    """

    drift_sampler: ClassVar[str]

    def sampling(self) -> dict:
        """Return the settings that generated images depend on; the number of shards is not one of them."""
        raise NotImplementedError

    def drift_prompts(self, dataset: str) -> list[str] | None:
        """Return the prompts of drift, or the class prompts of a dataset; None: its data contain them."""
        stated = self.settings[DRIFT]["prompts"]
        return stated if isinstance(stated, list) else None

    def drift_sampling(self) -> dict:
        """Return the settings that the images of class prompts depend on; a blocked image would have no distance."""
        return self.sampling() | {"images": self.settings[DRIFT]["images"], "safety_checker": False}

    def drift_images(self) -> int:
        """Return the number of images of class prompts that a model generates."""
        stated = self.settings[DRIFT]["prompts"]
        return (len(stated) if isinstance(stated, list) else stated) * self.settings[DRIFT]["images"]

    def shards(self, wildcards: dict) -> int:
        return 1 if self.task.evaluation.is_drift(wildcards) else super().shards(wildcards)


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

    def rule(self, benchmark: str) -> str:
        return "evaluate_drift" if strength_names.split(benchmark)[0] == DRIFT else super().rule(benchmark)

    def retention_benchmarks(self, run: dict) -> list[str]:
        entry = methods.get(self.config, run["method"])
        changes_base = entry.adapter.config or entry.base != "none"
        return [DRIFT] if self.settings.get(DRIFT) and changes_base else []

    def retention(self) -> dict | None:
        if not self.settings.get(DRIFT):
            return None
        entry = self.settings[DRIFT]["evaluators"][0]
        identical = registry.find(entry["kind"]).identical
        label = f"{entry['name']}, images of class prompts against the base model's"
        better = "higher" if identical else "lower"
        return {"benchmark": DRIFT, "metric": entry["name"], "label": label, "better": better, "base": identical}

    def is_drift(self, wildcards: dict) -> bool:
        """Return whether a job generates or evaluates images of class prompts; the base model's have no benchmark."""
        return bool(self.settings.get(DRIFT)) and strength_names.split(wildcards.get("benchmark", DRIFT))[0] == DRIFT

    def drift_models(self) -> list[str]:
        """Return the models that the evaluators of drift need."""
        return registry.models(self.settings[DRIFT]["evaluators"])

    def check_settings(self) -> None:
        """Raise JobError if an evaluator lacks an input, or one of drift does not compare images with each other."""
        task = f"config: tasks.{self.name}"
        entries, of_drift = self.settings["evaluation"]["evaluators"], self.settings.get(DRIFT) or {"evaluators": []}
        for entry in entries:
            self.check_evaluator(f"{task}.evaluation.evaluators: {entry['name']}", entry, self.reference_images)
        each_once(f"{task}.evaluation.evaluators", "metric", [*registry.metrics(entries), *ROW])
        each_once(f"{task}.{DRIFT}.evaluators", "name", [*(entry["name"] for entry in of_drift["evaluators"]), *ROW])
        for entry in of_drift["evaluators"]:
            key = f"{task}.{DRIFT}.evaluators: {entry['name']}"
            self.check_evaluator(key, entry, "references")
            expect(
                registry.find(entry["kind"]).needs.images == "references",
                f"{key}: kind {entry['kind']} does not compare two images. Use dino, clip or one of LPIPS",
            )

    def check_evaluator(self, key: str, entry: dict, images: str) -> None:
        """Raise JobError if an evaluator lacks a required input, or has a key that its type does not use."""
        registry.check(key, entry, images)
        if "model" in entry:
            one_of(key, "model", entry["model"], self.config["models"])


class ImageCost(Cost):
    """The cost of the jobs that generate and evaluate images."""

    def output_bytes(self, stage: str, wildcards: dict, downloaded: float | None) -> dict[str, float | None]:
        if stage != "gather":
            return {}
        images = self.work("generate", wildcards | {"n_shards": 1})
        return {"generated images": images and images * PNG_BYTES * self.settings["resolution"] ** 2}

    def work(self, stage: str, wildcards: dict) -> float | None:
        images = stage in ("generate", "evaluate") and wildcards.get("dataset") in self.datasets
        if not images or not self.task.evaluation.is_drift(wildcards):
            return super().work(stage, wildcards)
        return self.task.generation.drift_images() * (1 if stage == "generate" else FORWARD)
