"""Controllable generation with Stable Diffusion: control images, evaluators, and the images that a run generates."""

from pathlib import Path

from hra_workflow.core.errors import expect, one_of
from hra_workflow.evaluators import registry
from hra_workflow.tasks.control.items import BENCHMARK
from hra_workflow.tasks.datasets import generated
from hra_workflow.tasks.images import ImageTask

FACE_POINTS, OBJECT_POINTS = 68, 5
ANNOTATIONS = {"segmentation": ("classes", "colours"), "landmarks": ("points", "object-points")}  # by hint


class Control(ImageTask):
    name = "control"
    title = "Controllable generation"
    keys = "hra_workflow.tasks.control.keys"
    architecture = "controlled"
    required = ("epochs", "gradient_checkpointing", "shuffle", "prompt_dropout")
    architectures = ("stable-diffusion",)  # the hint encoder is a part of its UNet
    benchmark = BENCHMARK
    reference_images = "source"
    lambda_sources = ("", "Table 4")
    uncounted = "hint encoder"
    own_rules = ("hints",)
    pipeline_tag = "image-to-image"
    predicts_from = (("images", "prompts"), ("controls", "prompts"))

    def check_settings(self) -> None:
        super().check_settings()
        known = {entry["name"]: entry for entry in self.settings["evaluation"]["evaluators"]}
        for name in {run["dataset"] for run in self.runs()}:
            one_of(f"config: tasks.{self.name}.grid", "dataset", name, self.datasets)
            key, entry = f"config: datasets.{self.name}.{name}", self.datasets[name]
            hint, kinds = entry.get("hint"), ANNOTATIONS.get(entry.get("hint"))
            for split, places in entry["splits"].items():
                expect(
                    hint is not None or "control" in places,
                    f"{key}: expected `hint`, or `control` in every split, found none for {split}. Add it",
                )
                found = places.get("annotation", {}).get("kind")
                expect(
                    not kinds or "control" in places or found in kinds,
                    f"{key}.splits.{split}.annotation: expected one of kind {' or '.join(kinds or ())}, from which "
                    f"`hint: {hint}` computes the control images, found {found or 'none'}. Add it",
                )
            annotation = entry["splits"][BENCHMARK].get("annotation", {}).get("kind")
            for evaluator in entry["evaluators"]:
                one_of(f"{key}: evaluators", "evaluator", evaluator, known)
                registry.check_annotation(f"{key}: evaluators", known[evaluator], annotation)

    # Data

    def download(self, name: str) -> dict:
        return {"archives": True}

    def check_files(self, name: str, user_files: dict[str, Path], folder: Path) -> dict[str, dict]:
        from hra_workflow.tasks.control import data

        return {split: {"rows": count} for split, count in data.check(folder, self.hints(name)).items()}

    @classmethod
    def convert(cls, name: str, entry: dict, raw: Path, out: Path, user_files: dict[str, Path]) -> dict[str, int]:
        from hra_workflow.data import zip_archives

        zip_archives.check_all(raw)
        return {}

    def hints(self, dataset: str) -> dict:
        """Return what a dataset's control images depend on, without the files, which their manifest lists."""
        entry = self.datasets[dataset]
        chosen = {key: entry[key] for key in ("hint", "splits", "rows", "take") if key in entry}
        return chosen | {"resolution": self.settings["resolution"], "task_version": self.settings["version"]}

    def probe(self, dataset: str, rows: int, hyperparameters: dict) -> tuple[dict[str, dict], dict]:
        entry, generation = self.datasets[dataset], self.settings["generation"]
        counts = {"train": rows, BENCHMARK: generation["batch_size"]}
        kind = entry["splits"][BENCHMARK].get("annotation", {}).get("kind")
        points = OBJECT_POINTS if kind == "object-points" else FACE_POINTS
        kind, ending = ("classes", "classes.png") if kind in ("classes", "colours") else (kind, "txt")

        def split(name: str) -> dict:
            listed = {"prompts": f"{name}.jsonl", "image": f"scenes.zip:{name}/{{key}}.png"}
            file = f"scenes.zip:{name}/{{key}}.{ending}"
            return listed | ({"annotation": {"kind": kind, "place": file}} if kind else {})

        source = generated("scenes", rows=counts, size=self.settings["resolution"], points=points)
        changes = {"source": source, "splits": {name: split(name) for name in counts}, "rows": counts}
        kept = {"hint": "canny"} | {key: value for key, value in entry.items() if key != "take"}
        return {"preflight": kept | changes}, {"generation": generation | {"shards": 1}}

    # Training

    def inputs(self, dataset: str) -> dict[str, str]:
        hints = f"{self.config['pathvars']['resources']}/hints/{dataset}.manifest.json"
        return super().inputs(dataset) | {"dataset": hints}

    def errors_before(self, run: dict) -> list[str]:
        return [f"hints/{run['dataset']}/hints.error.json"]

    # Generation

    def sampling(self) -> dict:
        """Return the settings of generation, without the number of shards. The official code has no safety checker."""
        names = ("batch_size", "inference_steps", "guidance", "prompt_suffix", "precision")
        return {name: self.settings["generation"][name] for name in names} | {
            "resolution": self.settings["resolution"],
            "safety_checker": False,
        }

    # Evaluation

    def evaluators(self, dataset: str) -> list[dict]:
        """Return the evaluators that a dataset names, in the order of its list."""
        known = {entry["name"]: entry for entry in self.settings["evaluation"]["evaluators"]}
        return [known[name] for name in self.datasets[dataset]["evaluators"] if name in known]

    # Tables

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple] | None:
        return None if metric in settings["of_run"] else super().per_item(lines, selection, metric, settings)

    def comparison(self) -> dict:
        return {"of_run": registry.of_run(self.settings["evaluation"]["evaluators"])}

    # Plan

    def resources(self, rule: str, stage: str) -> dict:
        return self.settings[rule]["resources"] if rule in self.own_rules else super().resources(rule, stage)

    # Finished runs

    def prediction(self, dataset: str, run: str) -> dict:
        return {"sampling": self.sampling(), "hints": self.inputs(dataset)["dataset"]}


TASK = Control
