"""A tiny Stable Diffusion with random weights, a tiny subject, and jobs on them as the rules would hand them out."""

from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy

import diffusion_models
import rule_jobs
from support import DIFFUSION_SETTINGS, method

MODEL = diffusion_models.source("stable-diffusion-v1-5-pruned")
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
RESOLUTION = 32
SOURCE = {"kind": "init", "generator": "hra_workflow.demo.subject_images:write", "subject": "jester-ball"}
DATASET = {"source": SOURCE | {"rows": {"train": 3}, "seed": 0}, "resolution": RESOLUTION}
SETTINGS = DIFFUSION_SETTINGS | {"max_steps": 5, "epoch_steps": 2, "keep_epochs": "all"}
SETTINGS |= {"prior_weight": 1.0, "batch_size": 2}
SAMPLING = {"batch_size": 2, "images": 2, "inference_steps": 2, "guidance": 7.5, "safety_checker": False}
SAMPLING |= {"precision": "float32", "resolution": RESOLUTION}
PROMPTS = ["a qwe ball on the left", "a qwe ball on the right", "a red qwe ball"]
EVALUATION = {
    "evaluators": [{"name": "faithfulness", "kind": "hra_workflow.demo.prompt_fidelity:PromptFidelity"}],
    "best_by": ["faithfulness"],
    "prompts": PROMPTS,
    "prompts_class": [prompt.replace("qwe ", "") for prompt in PROMPTS],
}


class SubjectRun(rule_jobs.Run):
    """Class images, augment, train, generate (a shard), gather, evaluate."""

    task, data, SETTINGS = "subject", "jester-ball", SETTINGS
    GIVEN: ClassVar = {"head": [], "architecture": "unet", "resolution": RESOLUTION}

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.wildcards["benchmark"] = "prompts"

    def started(self) -> "SubjectRun":
        import_module("generate_class_images").main(super().started().class_images())
        return self

    def draw(self, rule: str, input: dict, output: Path, shard: int, of: int, **params) -> dict:
        finished = str(self.folder / "scratch" / rule / "finished")
        job = self.job(rule, {"model": self.tiny["model"]} | input, {"shard": output}, finished=finished, **params)
        job["params"]["scratch"] = str(self.folder / "scratch" / rule / f"shard{shard}-of-{of}")
        job["wildcards"] = self.wildcards | {"shard": str(shard), "n_shards": str(of)}
        return job

    def class_images(self, **sampling) -> dict:
        path, sampling = self.folder / "class.tar", SAMPLING | {"images": 4} | sampling
        params = {"prompts": ["a photo of a ball"], "sampling": sampling}
        return self.draw("generate_class_images", {}, path, 0, 1, **params)

    @property
    def train(self) -> dict:
        given = {"augmented": "augmented/manifest.json", "class_images": "class.tar"}
        return self.job(
            "train_subject",
            self.tiny | {name: str(self.folder / path) for name, path in given.items()},
            {"record": self.folder / "run/train.json", "steps": self.folder / "run/steps"} | self.weights,
            prompts={"subject": "qwe ball", "instance": "a photo of a qwe ball", "class": "a photo of a ball"},
        )

    def generate(self, shard: int = 0, of: int = 1, steps=(2, 4, 5), **sampling) -> dict:
        given = {"record": str(self.folder / "run/train.json"), "steps": str(self.folder / "run/steps")}
        path = self.folder / f"run/prompts/shard{shard}-of-{of}.tar"
        params = {"steps": list(steps), "prompts": PROMPTS, "sampling": SAMPLING | sampling}
        return self.draw("generate_subject", self.weights | given, path, shard, of, **params)

    def gather(self, of: int = 1, steps=(2, 4, 5), images: int = 2) -> dict:
        shards = [str(self.folder / f"run/prompts/shard{shard}-of-{of}.tar") for shard in range(of)]
        output = {"images": self.folder / f"run/prompts/images-{of}.tar"}
        given = {"record": str(self.folder / "run/train.json"), "shards": shards}
        return self.job("gather_subject", given, output, steps=list(steps), prompts=PROMPTS, images=images)

    def evaluate(self, images: str | None, evaluation: dict | None = None, models: tuple[str, ...] = ()) -> dict:
        given = {"record": str(self.folder / "run/train.json"), "dataset": self.tiny["dataset"]}
        return self.job(
            "evaluate_subject",
            given | {"images": images or [], "models": list(models)},
            {name: self.folder / f"run/prompts/{name}.json" for name in ("metrics", "predictions")},
            evaluation=EVALUATION | (evaluation or {}),
        )


def unet_method(kind: str = "hra") -> dict:
    return method(kind, targets=None if kind in ("full", "pretrained", "reference") else TARGETS)


def drawn(run, of: int = 1, steps=(2, 4, 5), **sampling) -> list:
    import gather_images
    import generate_subject
    from hra_workflow.data import images

    for shard in range(of):
        generate_subject.main(run.generate(shard, of, steps, **sampling))
    job = run.gather(of, steps, sampling.get("images", 2))
    gather_images.main(job)
    return list(images.unpack(job["output"]["images"]))


def pixels(picture) -> numpy.ndarray:
    return numpy.asarray(picture.image, int)
