"""Trainings on the demo's tiny Stable Diffusion with a hint, and shards of images from them, for the tests."""

from pathlib import Path
from random import Random
from typing import ClassVar

import torch
from PIL import Image, ImageDraw
from transformers import set_seed

import rule_jobs
from hra_workflow.models import adapters
from hra_workflow.tasks.control import model as control_model
from hra_workflow.tasks.control import training as control_training
from hra_workflow.training.attempts import Attempt
from support import DIFFUSION_SETTINGS, ROOT, method

MODEL = ROOT / "workflow/pictures-sd"
PARTS = ("unet", "vae", "text_encoder")
SIDE = 64  # pixels
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj"]
SETTINGS = DIFFUSION_SETTINGS | {"max_steps": 3, "epochs": 1, "batch_size": 4}
SAMPLING = {"batch_size": 2, "inference_steps": 2, "guidance": 9.0, "safety_checker": False}
SAMPLING |= {"precision": "float32", "resolution": SIDE}


def unet_method(kind: str = "hra", **changes) -> dict:
    found = method(kind)
    return found | {"targets": TARGETS if found["peft"] else None} | changes


def same_weights(pipeline, other) -> bool:
    """Compare the weights of two Stable Diffusions."""
    states = [[getattr(one, name).state_dict() for name in PARTS] for one in (pipeline, other)]
    return all(
        first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
        for first, second in zip(*states, strict=True)
    )


def inputs(count: int = 4) -> tuple:
    """Noisy latents, times and context for the UNet."""
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(count, 4, SIDE // 4, SIDE // 4, generator=generator)
    times = torch.arange(1, count + 1) * 200
    return noisy, times, torch.randn(count, 32, 96, generator=generator)


def hints(count: int = 4):
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


class Rows(list):
    """(image, prompt, hint) per row, with the methods of a Split that training uses."""

    def picture(self, row: int) -> Image.Image:
        return self[row][0]

    def value(self, row: int, field: str) -> str:
        assert field == "prompt"
        return self[row][1]

    def hint(self, row: int) -> Image.Image:
        return self[row][2]


def rows(count: int = 6) -> Rows:
    """Discs on grounds of two colours; the hint is the disc in white on black."""
    rng, made = Random(0), Rows()
    for _ in range(count):
        ground, colour = rng.sample(["red", "green", "blue", "yellow"], 2)
        x, y = rng.randrange(12, SIDE - 12), rng.randrange(12, SIDE - 12)
        prompt = f"a {colour} ball on a {ground} background"
        made.append((disc(colour, ground, x, y), prompt, disc("white", "black", x, y)))
    return made


def disc(colour: str, ground: str, x: int, y: int) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), ground)
    ImageDraw.Draw(image).ellipse((x - 10, y - 10, x + 10, y + 10), fill=colour)
    return image


class Run(rule_jobs.Run):
    """A training on discs in memory, as the script of the chain would do it."""

    task, data, SETTINGS = "control", "discs", SETTINGS
    GIVEN: ClassVar = {"resolution": SIDE}

    def __init__(self, folder: Path, method: dict, seed: int = 0, samples: dict | None = None, **settings):
        super().__init__(folder, {"model": MODEL}, method, seed, **settings)
        self.samples = samples or {}

    def start(self) -> Path:
        """Insert adapters, once; return their folder."""
        folder = self.folder / "augmented"
        if not folder.exists():
            set_seed(self.seed)
            head = control_model.head(self.method)
            adapted = adapters.insert(control_model.load(MODEL, self.method), self.method, head)
            if adapted is not None:
                adapters.save(adapted, folder)
        return folder

    def trainer(self, snapshot_steps: list[int] | None = None) -> control_training.Trainer:
        augmented, data = self.start(), rows()
        settings = control_training.schedule(self.settings, len(data))
        set_seed(self.seed)
        self.trained = control_training.start(MODEL, self.method, settings, augmented)
        given = {name: [] for name in ("model", "dataset", "augmented")}
        self.training = self.job("train_control", given, {"record": self.folder / "run/train.json"} | self.weights)
        samples = control_training.Samples(data, self.seed, **self.samples)
        trainer = control_training.Trainer(self.training, self.trained, MODEL, samples, settings)
        trainer.snapshot_steps = snapshot_steps or []
        return trainer

    def train(self, snapshot_steps: list[int] | None = None) -> control_training.Trainer:
        trainer = self.trainer(snapshot_steps)
        Attempt(self.training, "cpu").train(trainer, trainer.state.max_steps)
        if trainer.is_world_process_zero():
            adapters.save(trainer.unwrapped, self.last.parent)
        return trainer
