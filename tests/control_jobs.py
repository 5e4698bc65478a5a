"""Jobs of the control task as its rules call them, on generated scenes and the demo's tiny Stable Diffusion."""

from pathlib import Path
from typing import ClassVar

import draw_hints
import evaluate_control
import gather_images
import generate_control
import rule_jobs
from controlled import MODEL, SAMPLING, SETTINGS, SIDE
from hra_workflow.core import files
from hra_workflow.data import images
from support import downloaded

ROWS = {"train": 8, "validation": 5}
SOURCE = {"kind": "init", "generator": "hra_workflow.demo.scene_controls:write", "rows": ROWS, "seed": 0}
KINDS = {"canny": None, "segmentation": ("classes", "png"), "landmarks": ("object-points", "txt")}
EVALUATORS = {
    "canny": [{"name": "canny", "kind": "canny"}],
    "segmentation": [{"name": "classes", "kind": "hra_workflow.demo.scene_controls:ObjectMask"}],
    "landmarks": [{"name": "points", "kind": "hra_workflow.demo.scene_controls:ObjectPoints"}],
}


def entry(hint: str) -> dict:
    splits = {}
    for split in ROWS:
        splits[split] = {"prompts": f"{split}.jsonl", "image": f"scenes.zip:{split}/color/{{key}}.png"}
        if kind := KINDS[hint]:
            folder, ending = ("classes" if kind[0] == "classes" else "points"), kind[1]
            place = f"scenes.zip:{split}/{folder}/{{key}}.{ending}"
            splits[split]["annotation"] = {"kind": kind[0], "place": place}
    return {"hint": hint, "splits": splits, "rows": ROWS, "resolution": SIDE}


def prepared(root: Path) -> dict[str, str]:
    """Return manifests of the model, of the archives, and per control signal of the control images."""
    model = {"kind": "local", "path": str(MODEL)}
    found = downloaded(root, model, "control/scenes", {"source": SOURCE, "archives": True})
    for hint in KINDS:
        found[hint] = str(root / f"{hint}.manifest.json")
        draw_hints.main(draw(found["dataset"], found[hint], entry(hint)))
    return found


def draw(archives: str, manifest: str | Path, dataset: dict) -> dict:
    given = {"input": {"dataset": archives}, "output": {"manifest": str(manifest)}}
    named = {"dataset": Path(manifest).name.removesuffix(".manifest.json")}
    return given | {"params": {"dataset": dataset}, "threads": 2, "wildcards": named}


class ControlRun(rule_jobs.Run):
    """The chain of control with one kind of control images. Methods run jobs and return what these wrote."""

    task, data = "control", "canny"
    SETTINGS: ClassVar = {name: value for name, value in SETTINGS.items() if name != "max_steps"}
    SETTINGS |= {"shuffle": True, "prompt_dropout": 0.0}
    GIVEN: ClassVar = {"architecture": "controlled", "head": [], "resolution": SIDE}

    def __init__(self, folder: Path, given: dict, method: dict, hint: str = "canny", **settings):
        super().__init__(folder, given, method, **settings)
        self.hint, self.record = hint, folder / "run/train.json"
        self.wildcards |= {"dataset": hint, "benchmark": "validation"}
        self.images = folder / "run/validation/images.tar"

    @property
    def train(self) -> dict:
        made = files.read_json(self.tiny[self.hint])["made_from"]
        rule_jobs.BUILT[str(self.tiny[self.hint])] = {"result": self.hint, "settings": made["settings"], "before": {}}
        given = {"model": self.tiny["model"], "dataset": self.tiny[self.hint]}
        given["augmented"] = self.augment["output"]["manifest"]
        return self.job("train_control", given, {"record": self.record} | self.weights)

    def generate(self, shard: int = 0, of: int = 1, **sampling) -> str:
        path = self.folder / f"run/validation/shard{shard}-of-{of}.tar"
        given = {"record": str(self.record), "last": str(self.last)}
        job = self.job(
            "generate_control",
            given | {"model": self.tiny["model"], "dataset": self.tiny[self.hint]},
            {"shard": path},
            sampling=SAMPLING | {"prompt_suffix": ", ", "inference_steps": 2} | sampling,
            finished=str(self.folder / "scratch/finished"),
        )
        job["wildcards"] |= {"shard": str(shard), "n_shards": str(of)}
        generate_control.main(job)
        return str(path)

    def gather(self, shards: list[str]) -> list[images.Picture]:
        given = {"record": str(self.record), "shards": shards, "dataset": self.tiny[self.hint]}
        job = self.job("gather_control", given, {"images": self.images}, steps=[], prompts=[], images=1)
        gather_images.main(job)
        return list(images.unpack(self.images))

    def evaluate(self, **changes) -> dict:
        folder = self.folder / "run/validation"
        output = {"metrics": folder / "metrics.json", "predictions": folder / "predictions.jsonl.gz"}
        pictures = [] if self.method["kind"] == "reference" else str(self.images)
        job = self.job(
            "evaluate_control",
            {"record": str(self.record), "images": pictures, "dataset": self.tiny[self.hint], "models": []},
            output,
            evaluators=EVALUATORS[self.hint],
        )
        evaluate_control.main(job | changes)
        return files.read_json(output["metrics"])
