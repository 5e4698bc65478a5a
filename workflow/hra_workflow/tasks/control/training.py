"""Training of an adapter and a hint encoder, or of a ControlNet, on rows of (image, prompt, control image)."""

import functools
import math
import os
import random
from pathlib import Path

import numpy
import torch
from tqdm import tqdm

from hra_workflow import methods
from hra_workflow.core.sharding import seed as seed_of
from hra_workflow.models.diffusion import stable_diffusion
from hra_workflow.models.diffusion.components import to_device, to_tensor
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model
from hra_workflow.tasks.control.data import Split
from hra_workflow.training import diffusion_trainer, optimizers

ENCODED = 8  # images that the VAE encodes at a time


class Samples:
    """Training samples: image, control image and prompt of a row, and a generator for its noise and time step.

    Every row is used once per epoch, reshuffled unless `shuffle` is false, as in the official code. With probability
    `prompt_dropout`, a prompt is dropped (replaced with the empty prompt). `posteriors`: mean and standard deviation of
    the VAE's posterior of each row's image, (rows, 2, channels, height, width); the Trainer encodes them.
    """

    posteriors: numpy.ndarray

    def __init__(self, rows: Split, seed: int, prompt_dropout: float = 0.0, shuffle: bool = True):
        self.rows, self.seed = rows, seed
        self.prompt_dropout, self.shuffle = prompt_dropout, shuffle
        self.order = functools.lru_cache(2)(self.order)  # for 100,000 rows it takes longer than reading one

    def __getitem__(self, n: int) -> dict:
        """Return the posterior, the hint in 0 to 1, the prompt and the generator of a sample."""
        epoch, place = divmod(n, len(self.rows))
        row = self.order(epoch)[place]
        generator = torch.Generator().manual_seed(seed_of("sample", self.seed, n))
        dropped = torch.rand((), generator=generator) < self.prompt_dropout
        return {
            "posterior": torch.from_numpy(self.posteriors[row].copy()),
            "hint": to_tensor(self.rows.hint(row)) / 255,
            "prompt": "" if dropped else self.rows.value(row, "prompt"),
            "generator": generator,
        }

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
        samples.posteriors = self.encode_all(samples.rows)
        self.architecture.vae.to("cpu")

    @torch.no_grad()
    def encode_all(self, rows: Split) -> numpy.ndarray:
        """Encode the image of every row now, instead of in every step; return `posteriors` of Samples.

        A row's crop is the same in every epoch; only the noise is sampled again. The processes share the work and a
        file, which is deleted once all have opened it. The batches do not depend on the number of processes.
        """
        path, accelerator = self.scratch / "posteriors", self.accelerator
        shape = (len(rows), *self.posterior(rows, range(1)).shape[1:])
        if accelerator.is_main_process:
            self.scratch.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:  # a full disk raises an error here, a write to the mapped file a signal
                os.posix_fallocate(file.fileno(), 0, numpy.float32().nbytes * math.prod(shape))
        accelerator.wait_for_everyone()
        found = numpy.memmap(path, numpy.float32, "r+", shape=shape)
        batches = [range(first, min(first + ENCODED, len(rows))) for first in range(0, len(rows), ENCODED)]
        own = batches[accelerator.process_index :: accelerator.num_processes]
        for batch in tqdm(own, desc="encode", unit="batch", disable=None if accelerator.is_main_process else True):
            found[batch.start : batch.stop] = self.posterior(rows, batch)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            path.unlink()
        return found

    def posterior(self, rows: Split, batch: range) -> numpy.ndarray:
        pixels = torch.stack(list(self.readers.map(lambda row: control_model.pixels(rows.picture(row)), batch)))
        return self.architecture.posterior(to_device(pixels, self.device)).cpu().numpy()

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
