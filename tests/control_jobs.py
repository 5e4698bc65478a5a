"""Jobs of the control task as its rules call them, on generated scenes and the demo's tiny Stable Diffusion."""

from pathlib import Path

import augment
import draw_hints
import encode_latents
import evaluate_control
import gather_images
import generate_control
import rule_jobs
import train_control
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
    found = downloaded(
        root, {"kind": "local", "path": str(MODEL)}, "control/scenes", {"source": SOURCE, "archives": True}
    )
    for hint in KINDS:
        found[hint] = str(root / f"{hint}.manifest.json")
        draw_hints.main(draw(found["dataset"], found[hint], entry(hint)))
    return found


def draw(archives: str, manifest: str | Path, dataset: dict) -> dict:
    given = {"input": {"dataset": archives}, "output": {"manifest": str(manifest)}}
    return given | {"params": {"dataset": dataset}, "threads": 2}


class Run:
    def __init__(self, folder: Path, resources: dict, method: dict, hint: str = "canny", **settings):
        self.folder, self.resources, self.method, self.hint = folder, resources, method, hint
        defaults = {"shuffle": True, "prompt_dropout": 0.0, "ema": None}
        self.settings = {name: value for name, value in SETTINGS.items() if name != "max_steps"} | defaults | settings
        self.record, self.weights = folder / "run/train.json", folder / "run/last/adapter_model.safetensors"
        self.images = folder / "run/validation/images.tar"
        self.latents: str | list = []

    def job(self, rule: str, input: dict, output: dict, **params) -> dict:
        wildcards = {"task": "control", "dataset": self.hint, "method": self.method["kind"], "variant": "v"}
        wildcards |= {"seed": "0", "benchmark": "validation"}
        defaults = {"method": self.method, "task_version": 1, "device": "cpu", "scratch": str(self.folder / "scratch")}
        return rule_jobs.build(rule, self.folder, wildcards, input, output, params, defaults)

    def augment(self) -> dict:
        manifest, own = self.folder / "augmented/manifest.json", {"architecture": "controlled", "head": []}
        given = {"model": self.resources["model"]}
        job = self.job("augment", given, {"manifest": manifest}, precision="float32", seed="0", **own)
        augment.main(job)
        return files.read_json(manifest)

    def encode(self) -> dict:
        """Encode the training images; from now on, `train` reads them from the cache."""
        self.latents = str(self.folder / "latents.manifest.json")
        given = {"model": self.resources["model"], "dataset": self.resources[self.hint]}
        encode_latents.main(self.job("latents", given, {"manifest": self.latents}))
        return files.read_json(self.latents)

    @property
    def training(self) -> dict:
        augmented = str(self.folder / "augmented/manifest.json")
        output = {"record": self.record, "last": self.weights}
        settings = {"hyperparameters": self.settings, "preset": "test", "model_name": "tiny", "resolution": SIDE}
        given = {"model": self.resources["model"], "dataset": self.resources[self.hint], "augmented": augmented}
        given["latents"] = self.latents
        return self.job("train_control", given, output, **settings)

    def train(self) -> dict:
        train_control.main(self.training)
        return files.read_json(self.record)

    def generate(self, shard: int = 0, of: int = 1, **sampling) -> str:
        path = self.folder / f"run/validation/shard{shard}-of-{of}.tar"
        job = self.job(
            "generate_control",
            {
                "record": str(self.record),
                "last": str(self.weights),
                "model": self.resources["model"],
                "dataset": self.resources[self.hint],
            },
            {"shard": path},
            sampling=SAMPLING | {"prompt_suffix": ", ", "inference_steps": 2} | sampling,
            finished=str(self.folder / "scratch/finished"),
        )
        job["wildcards"] |= {"shard": str(shard), "n_shards": str(of)}
        generate_control.main(job)
        return str(path)

    def gather(self, shards: list[str]) -> list[images.Picture]:
        given = {"record": str(self.record), "shards": shards, "dataset": self.resources[self.hint]}
        job = self.job("gather_control", given, {"images": self.images}, steps=[], prompts=[], images=1)
        gather_images.main(job)
        return list(images.unpack(self.images))

    def evaluate(self, **changes) -> dict:
        folder = self.folder / "run/validation"
        output = {"metrics": folder / "metrics.json", "predictions": folder / "predictions.jsonl.gz"}
        pictures = [] if self.method["kind"] == "reference" else str(self.images)
        job = self.job(
            "evaluate_control",
            {
                "record": str(self.record),
                "images": pictures,
                "dataset": self.resources[self.hint],
                "models": [],
            },
            output,
            evaluators=EVALUATORS[self.hint],
        )
        evaluate_control.main(job | changes)
        return files.read_json(output["metrics"])
