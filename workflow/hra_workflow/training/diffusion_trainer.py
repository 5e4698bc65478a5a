"""Train the network of a diffusion model with accelerate: the loop shared by all diffusion tasks.

Every random number comes from a generator that depends only on (seed, index of the sample). Therefore resumed training
runs, other devices and other numbers of processes use the same samples, noise samples and time steps, and checkpoints
contain no random state.
"""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers.optimization import get_scheduler
from transformers import TrainerControl

from hra_workflow import methods
from hra_workflow.core import files, provenance
from hra_workflow.models import adapters
from hra_workflow.models.diffusion.base import Conditions, Diffusion
from hra_workflow.models.diffusion.components import to_device
from hra_workflow.models.precision import dtype
from hra_workflow.training import callbacks, checkpoints, optimizers

LOSSES = "losses.json"
POINTS = 100  # number of points of the loss curve
READERS = 4  # threads that read samples while the device computes


class Trainer:
    """The part of the transformers Trainer that attempts.py uses. Subclasses define the `loss` of a list of samples.

    `samples[n]` is training sample n. `settings`: hyper-parameters to use instead of the job's. `snapshot_steps`: those
    after which the weights are kept, too.
    """

    per_process = False  # random numbers depend only on the samples
    restart_every, packages = 1, ()

    def __init__(self, job: dict, model, architecture: Diffusion, samples, settings: dict | None = None):
        self.settings, self.method = settings or job["params"]["hyperparameters"], job["params"]["method"]
        self.scratch, self.samples = Path(job["params"]["scratch"]), samples
        self.snapshot_steps, self.callbacks = [], []
        precision = self.settings["precision"]
        # TF32 is a setting of the process, and an environment variable may allow it: set both values. `hra` uses
        # float64.
        torch.set_float32_matmul_precision("high" if self.settings.get("tf32") else "highest")
        AcceleratorState._reset_state()  # from an earlier training run in the same process
        mixed = {"float32": "no"}.get(precision, precision)
        self.accelerator = Accelerator(mixed_precision=mixed, cpu=provenance.pick_device(job) == "cpu")
        self.device = self.accelerator.device
        self.state = SimpleNamespace(global_step=0, max_steps=self.settings["max_steps"])
        self.interval = max(1, self.state.max_steps // POINTS)
        self.losses: list[float] = []
        base = methods.entry(self.method).precision or self.settings.get("base_precision", precision)
        self.frozen = dtype(base if mixed == "no" else precision)  # dtype of the network's inputs
        self.architecture = architecture
        architecture.prepare(self.device)
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
        # `checkpoint` saves only the trained weights.
        self.accelerator.register_save_state_pre_hook(lambda models, weights, _: weights.clear())
        self.accelerator.register_load_state_pre_hook(lambda models, _: models.clear())
        self.readers, self.under_way = ThreadPoolExecutor(READERS), {}

    def add_callback(self, callback) -> None:
        """Add a transformers TrainerCallback; only its `on_log` and `on_step_end` are called."""
        self.callbacks.append(callback)

    def is_world_process_zero(self) -> bool:
        return self.accelerator.is_main_process

    def train(self, resume_from_checkpoint: str | None = None) -> None:
        from tqdm import tqdm

        if resume_from_checkpoint:
            self.resume(Path(resume_from_checkpoint))
        world = SimpleNamespace(world_size=self.accelerator.num_processes, device=self.device)
        first = self.state.global_step
        shown = None if self.is_world_process_zero() else True
        for step in tqdm(range(first, self.state.max_steps), desc="train", unit="step", disable=shown):
            self.losses.append(self.step(step))
            callbacks.check_loss(self.losses[-1], step + 1)
            self.state.global_step = step + 1
            if step + 1 in self.snapshot_steps and self.is_world_process_zero():
                with files.replacing_folder(self.scratch / "steps" / str(step + 1)) as new:
                    adapters.save(self.unwrapped, new)
            control = TrainerControl()
            for callback in self.callbacks:
                if (step + 1) % self.interval == 0 or step + 1 == self.state.max_steps:
                    callback.on_log(world, self.state, control, logs=self.curve()[-1]["metrics"])
                control = callback.on_step_end(world, self.state, control) or control
            if control.should_save:
                self.checkpoint()
            if control.should_training_stop:
                return

    def step(self, step: int) -> float:
        """Take one optimiser step and return the mean loss of all processes, without the penalty."""
        accumulation, total = self.settings["gradient_accumulation"], 0.0
        for part in range(accumulation):
            last = part == accumulation - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self.loss(self.micro_batch(step * accumulation + part))
                total += loss.item() / accumulation
                if (added := optimizers.penalty(self.unwrapped, self.method)) is not None:
                    loss = loss + added
                self.accelerator.backward(loss / accumulation)
        if self.settings["max_grad_norm"]:
            self.accelerator.clip_grad_norm_(self.parameters, self.settings["max_grad_norm"])
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        if self.accelerator.num_processes > 1:
            total = self.accelerator.reduce(torch.tensor(total, device=self.device), "mean").item()
        return total

    def micro_batch(self, number: int) -> list:
        """Return the samples of this process, while threads read those of its next micro-batch."""
        ready = self.under_way.pop(number, None) or self.read(number)
        if number + 1 < self.state.max_steps * self.settings["gradient_accumulation"]:
            self.under_way[number + 1] = self.read(number + 1)
        return [sample.result() for sample in ready]

    def read(self, number: int) -> list:
        processes = self.accelerator.num_processes
        size = self.settings["batch_size"] // (self.settings["gradient_accumulation"] * processes)
        first = (number * processes + self.accelerator.process_index) * size
        return [self.readers.submit(self.samples.__getitem__, n) for n in range(first, first + size)]

    def errors(self, parts: list[dict], conditions: Conditions, **further) -> torch.Tensor:
        """Return the loss of each part, (parts,): an image with its random time.

        A part has a `generator`, and either `pixels`, (3, height, width) in −1 to 1, or `posterior`, see `encode`.
        `conditions`: a row per part. `further`: additional arguments of the model.
        """
        latents = self.encode(parts)
        return self.architecture.errors(self.model, latents, parts, conditions, self.frozen, **further)

    @torch.no_grad()
    def encode(self, parts: list[dict]) -> torch.Tensor:
        """Compute latents, from a part's pixels or from `posterior` (see Diffusion.posterior)."""
        pixels = [part["pixels"] for part in parts if "pixels" in part]
        encoded = iter(self.architecture.posterior(to_device(torch.stack(pixels), self.device)) if pixels else ())
        posteriors = [
            to_device(part["posterior"], self.device) if "posterior" in part else next(encoded) for part in parts
        ]
        return self.architecture.latents(torch.stack(posteriors), [part["generator"] for part in parts])

    def checkpoint(self) -> None:
        folder = self.scratch / checkpoints.UNSEALED / f"{checkpoints.PREFIX}{self.state.global_step}"
        self.accelerator.save_state(str(folder))
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            checkpoints.save_trained(self.unwrapped, folder)
            (folder / LOSSES).write_text(json.dumps(self.losses))
            checkpoints.seal(folder)
        self.accelerator.wait_for_everyone()

    def resume(self, folder: Path) -> None:
        self.accelerator.load_state(str(folder))
        checkpoints.load_trained(self.unwrapped, folder)
        self.losses = json.loads((folder / LOSSES).read_text())
        self.state.global_step = len(self.losses)

    def curve(self) -> list[dict]:
        """Return the mean losses of equal intervals of steps."""
        size, steps = self.interval, len(self.losses)
        parts = [self.losses[first : first + size] for first in range(0, steps, size)]
        ends = [min(first + size, steps) for first in range(0, steps, size)]
        every = self.settings["epoch_steps"]
        return [
            {"step": end, "epoch": end / every, "metrics": {"loss": sum(part) / len(part)}}
            for end, part in zip(ends, parts, strict=True)
        ]
