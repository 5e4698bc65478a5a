"""DreamBooth's training loop: the noise of a subject's images and of its class's images, predicted by the UNet.

Everything random is drawn by generators that depend on (seed, number of the sample) alone. So a resumed training, one
on another device and one with more processes see the same crops, noises and time steps, and no random state is saved.
"""

import contextlib
import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import AutoencoderKL, DDPMScheduler
from diffusers.optimization import get_scheduler
from PIL import Image
from safetensors.torch import load_file, save_file

import hra
from common import adapters, diffusion, files, training
from common.subjects import seed as seed_of

LOSSES = "losses.json"
POINTS = 100  # of the loss curve


class Samples:
    """Sample n of a training: a crop of a subject's image with one of a class image, noises and time steps.

    In an epoch every class image comes once, in a new order, and the subject's images evenly.
    """

    def __init__(self, subject: list[Image.Image], of_class: list, resolution: int, seed: int):
        self.subject = [enlarge(image, resolution) for image in subject]
        self.of_class = of_class
        self.resolution, self.seed = resolution, seed
        self.epoch = max(len(subject), len(of_class))

    def __getitem__(self, n: int) -> list[dict]:
        """The subject's part and, with class images, the class's."""
        epoch, place = divmod(n, self.epoch)
        order = list(range(self.epoch))
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        index = order[place]
        generator = torch.Generator().manual_seed(seed_of("sample", self.seed, n))
        chosen = [self.subject[index % len(self.subject)]]
        if self.of_class:
            picture = self.of_class[index % len(self.of_class)]
            chosen.append(enlarge(picture.image, self.resolution))
        return [{"pixels": self.crop(image, generator), "generator": generator} for image in chosen]

    def crop(self, image: Image.Image, generator: torch.Generator) -> torch.Tensor:
        """(3, resolution, resolution), −1 to 1."""
        size = self.resolution
        left, top = (
            int(torch.randint(room - size + 1, (), generator=generator)) for room in (image.width, image.height)
        )
        pixels = numpy.asarray(image.crop((left, top, left + size, top + size)))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1


def enlarge(image: Image.Image, size: int) -> Image.Image:
    """The shorter side at `size` pixels."""
    scale = size / min(image.size)
    shape = [max(size, round(side * scale)) for side in image.size]
    return image if image.size == tuple(shape) else image.resize(shape, Image.Resampling.LANCZOS)


class Trainer:
    """What finetuning.run_to_end asks of a Trainer, on accelerate."""

    def __init__(self, job: dict, model, folder: Path, samples: Samples, embeddings, marks: list[int], survive, device):
        self.settings, self.method = job["params"]["hyperparameters"], job["params"]["method"]
        self.scratch, self.samples, self.marks, self.survive = Path(job["params"]["scratch"]), samples, marks, survive
        precision = self.settings["precision"]
        AcceleratorState._reset_state()  # of an earlier training in the same process
        mixed = {"float32": "no"}.get(precision, precision)
        self.accelerator = Accelerator(mixed_precision=mixed, cpu=device == "cpu")
        self.device = self.accelerator.device
        self.state = SimpleNamespace(global_step=0, max_steps=self.settings["max_steps"])
        self.losses: list[float] = []
        self.frozen = diffusion.dtype(precision)
        self.vae = diffusion.part(AutoencoderKL, folder, "vae").to(self.device).requires_grad_(False)
        self.noising = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
        self.embeddings = embeddings.to(self.device)
        self.unwrapped = model
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.settings["learning_rate"],
            weight_decay=self.settings["weight_decay"],
            eps=self.settings["adam_epsilon"],
        )
        warmup, steps = self.settings["warmup_steps"], self.settings["max_steps"]
        warmup = round(warmup * steps) if warmup < 1 else round(warmup)
        self.schedule = get_scheduler(
            self.settings["schedule"], optimizer, num_warmup_steps=warmup, num_training_steps=steps
        )
        self.model, self.optimizer = self.accelerator.prepare(model.train(), optimizer)
        self.accelerator.register_for_checkpointing(self.schedule)
        # Only what is trained is saved, by `checkpoint`.
        self.accelerator.register_save_state_pre_hook(lambda models, weights, _: weights.clear())
        self.accelerator.register_load_state_pre_hook(lambda models, _: models.clear())

    def is_world_process_zero(self) -> bool:
        return self.accelerator.is_main_process

    def train(self, resume_from_checkpoint: str | None = None) -> None:
        from tqdm import tqdm

        if resume_from_checkpoint:
            self.resume(Path(resume_from_checkpoint))
        self.survive.on_train_begin()
        world = SimpleNamespace(world_size=self.accelerator.num_processes, device=self.device)
        first = self.state.global_step
        shown = None if self.is_world_process_zero() else True
        for step in tqdm(range(first, self.state.max_steps), desc="train", unit="step", disable=shown):
            self.losses.append(self.step(step))
            self.state.global_step = step + 1
            if step + 1 in self.marks[:-1] and self.is_world_process_zero():
                self.save_mark(step + 1)
            wish = SimpleNamespace(should_save=False, should_training_stop=False)
            wish = self.survive.on_step_end(world, self.state, wish)
            if wish.should_save:
                self.checkpoint()
            if wish.should_training_stop:
                return

    def step(self, step: int) -> float:
        """One step of the optimiser; the mean loss of this process, penalty not counted."""
        accumulation, processes = self.settings["gradient_accumulation"], self.accelerator.num_processes
        each = self.settings["batch_size"] // (accumulation * processes)
        total = 0.0
        for part in range(accumulation):
            first = ((step * accumulation + part) * processes + self.accelerator.process_index) * each
            last = part == accumulation - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self.loss([self.samples[n] for n in range(first, first + each)])
                total += loss.item() / accumulation
                if self.method["lambda"]:
                    squared = self.method["penalty"] == "squared"
                    loss = loss + self.method["lambda"] * hra.orthogonality_penalty(self.unwrapped, squared=squared)
                self.accelerator.backward(loss / accumulation)
        if self.settings["max_grad_norm"]:
            self.accelerator.clip_grad_norm_(self.parameters, self.settings["max_grad_norm"])
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return total

    def loss(self, samples: list[list[dict]]):
        """Mean squared error of the noise on the subject's images, and `prior_weight` times that on the class's."""
        parts = [sample for of in zip(*samples, strict=True) for sample in of]  # all subject's, then all class's
        latents = self.encode(parts)
        noise = torch.stack([torch.randn(latents.shape[1:], generator=part["generator"]) for part in parts])
        limit = self.noising.config.num_train_timesteps
        times = torch.stack([torch.randint(limit, (), generator=part["generator"]) for part in parts])
        noise, times = noise.to(self.device), times.to(self.device)
        noisy = self.noising.add_noise(latents, noise, times).to(self.frozen)
        context = self.embeddings[: len(parts) // len(samples)].repeat_interleave(len(samples), 0).to(self.frozen)
        predicted = self.model(noisy, times, context).sample.float()
        v_prediction = self.noising.config.prediction_type == "v_prediction"
        target = self.noising.get_velocity(latents, noise, times) if v_prediction else noise
        errors = (predicted - target).square().mean(dim=(1, 2, 3)).split(len(samples))
        return errors[0].mean() + sum(self.settings["prior_weight"] * part.mean() for part in errors[1:])

    @torch.no_grad()
    def encode(self, parts: list[dict]) -> torch.Tensor:
        """Latents drawn from the VAE's posterior, in float32: half precision overflows in some VAEs."""
        pixels = torch.stack([part["pixels"] for part in parts]).to(self.device)
        posterior = self.vae.encode(pixels).latent_dist
        noise = torch.stack([torch.randn(posterior.mean.shape[1:], generator=part["generator"]) for part in parts])
        return (posterior.mean + posterior.std * noise.to(self.device)) * self.vae.config.scaling_factor

    def save_mark(self, step: int) -> None:
        place = self.scratch / "steps" / str(step)
        new = place.with_name(f".{step}.new")
        adapters.save(self.unwrapped, new)
        files.replace_folder(new, place)

    def checkpoint(self) -> None:
        folder = self.scratch / f"checkpoint-{self.state.global_step}"
        self.accelerator.save_state(str(folder))
        if self.is_world_process_zero():
            save_file(adapters.trained_state(self.unwrapped), folder / training.TRAINED)
            (folder / LOSSES).write_text(json.dumps(self.losses))
            training.keep_only(folder)
        self.accelerator.wait_for_everyone()

    def resume(self, folder: Path) -> None:
        self.accelerator.load_state(str(folder))
        state = load_file(folder / training.TRAINED)
        with torch.no_grad():
            for name, parameter in self.unwrapped.named_parameters():
                if name in state:
                    parameter.copy_(state[name])
        self.losses = json.loads((folder / LOSSES).read_text())
        self.state.global_step = len(self.losses)

    def curve(self) -> list[dict]:
        """Mean losses of equal parts of the training."""
        size = max(1, len(self.losses) // POINTS)
        parts = [self.losses[first : first + size] for first in range(0, len(self.losses), size)]
        ends = [min(size * (index + 1), len(self.losses)) for index in range(len(parts))]
        every = self.settings["epoch_steps"]
        return [
            {"step": end, "epoch": end / every, "metrics": {"loss": sum(part) / len(part)}}
            for end, part in zip(ends, parts, strict=True)
        ]
