"""Training of an adapter and a hint encoder, or of a ControlNet, on rows of (image, prompt, control image)."""

import functools
import random
from pathlib import Path

import torch

from hra_workflow import methods
from hra_workflow.core.sharding import seed as seed_of
from hra_workflow.models.diffusion import stable_diffusion
from hra_workflow.models.diffusion.components import to_device, to_tensor
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model
from hra_workflow.training import diffusion_trainer, optimizers


class Samples:
    """Training samples: image, control image and prompt of a row, and a generator for its noise and time step.

    `rows[i]`: (image, prompt, control image), both RGB and equally large squares; a tensor instead of the image is
    the mean and standard deviation of the VAE's posterior (latents.Rows). Every row is used once per epoch, reshuffled
    unless `shuffle` is false, as in the official code. With probability `prompt_dropout`, a prompt is dropped (replaced
    with the empty prompt).
    """

    def __init__(self, rows, seed: int, prompt_dropout: float = 0.0, shuffle: bool = True):
        self.rows, self.seed = rows, seed
        self.prompt_dropout, self.shuffle = prompt_dropout, shuffle
        self.order = functools.lru_cache(2)(self.order)  # for 100,000 rows it takes longer than reading one

    def __getitem__(self, n: int) -> dict:
        """Return pixels (3, resolution, resolution) in −1 to 1 or posterior, hint in 0 to 1, prompt, generator."""
        epoch, place = divmod(n, len(self.rows))
        row = self.order(epoch)[place]
        image, prompt, hint = self.rows[row]
        if isinstance(image, torch.Tensor):
            part = {"posterior": image}
        else:
            part = {"pixels": control_model.pixels(image)}
        generator = torch.Generator().manual_seed(seed_of("sample", self.seed, n))
        dropped = torch.rand((), generator=generator) < self.prompt_dropout
        return part | {"hint": to_tensor(hint) / 255, "prompt": "" if dropped else prompt, "generator": generator}

    def order(self, epoch: int) -> list[int]:
        order = list(range(len(self.rows)))
        if self.shuffle:
            random.Random(f"{self.seed} {epoch}").shuffle(order)
        return order


def schedule(settings: dict, rows: int) -> dict:
    """Complete the settings with values derived from the number of rows: `epoch_steps`, and `max_steps`."""
    epoch_steps = -(-rows // settings["batch_size"])
    return {"max_steps": optimizers.total_steps(rows, settings)} | settings | {"epoch_steps": epoch_steps}


class Trainer(diffusion_trainer.Trainer):
    """Trains on the noise of images; `settings`: as completed by `schedule`."""

    def __init__(self, job: dict, model, folder: Path, samples: Samples, settings: dict):
        super().__init__(job, model, stable_diffusion.StableDiffusion(folder), samples, settings)
        self.text = stable_diffusion.TextEncoder(folder, "float32", self.device)

    def loss(self, samples: list[dict]):
        """Return the mean squared error of the noise."""
        text = self.text([sample["prompt"] for sample in samples])
        hints = to_device(torch.stack([sample["hint"] for sample in samples]), self.device)
        return self.errors(samples, {"text": text}, hint=hints).mean()


def start(folder: Path, method: dict, settings: dict, augmented: Path):
    """Prepare the model for the Trainer: attach the hint encoder, load the initial adapter, set trainable parameters.

    `augmented`: folder of the initial adapter; it contains no file for a ControlNet, only a hint encoder, or `full`.
    """
    from hra_workflow.models import adapters

    precision = methods.entry(method).precision or settings["precision"]
    model = control_model.load(folder, method, precision)
    if settings["gradient_checkpointing"]:
        model.enable_gradient_checkpointing()
    model = adapters.start_training(model, method, control_model.head(method), augmented, settings["max_steps"])
    if settings.get("hint_start") == "unit-variance":
        hint_encoder.init_unit_variance(model)
    return model
