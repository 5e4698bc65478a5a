"""The interface of an architecture: its components, embeddings of prompts, latents, the loss at a step, sampling.

Random numbers come from a generator per image only, so that results depend neither on the batch nor on the number of
processes.
"""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import torch

from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.models import pretrained
from hra_workflow.models.diffusion import ARCHITECTURES, components
from hra_workflow.models.precision import dtype
from hra_workflow.models.pretrained import without_weights

SHOWN = 200  # characters of a prompt in an error
Conditions = dict[str, torch.Tensor]


def posterior(vae, pixels):
    """Return mean and standard deviation, (N, 2, channels, height, width), of a VAE's posterior."""
    found = vae.encode(pixels).latent_dist
    return torch.stack([found.mean, found.std], 1)


class Diffusion:
    """A pretrained text-to-image model in a folder in diffusers' layout. A subclass is an architecture.

    name: its entry in the registry, which has the pipeline, and the name of the network in it as `component`.
    network, autoencoder, schedule: diffusers' classes.
    patch: the number of latent positions along a side that form one position of the network's input.
    text_precision: precision of the text encoders in training; None: that of the training.

    `conditions`, the embeddings of prompts, map the network's inputs to tensors (prompts, …). A `part` is a dict that
    describes an image of a batch: its `generator`, and `frame`, (height, width, top, left) of its crop in pixels.
    """

    name: ClassVar[str]
    network: ClassVar[str]
    autoencoder: ClassVar[str] = "AutoencoderKL"
    schedule: ClassVar[str]
    patch: ClassVar[int] = 1
    text_precision: ClassVar[str | None] = None

    vae: Any
    noising: Any

    def __init__(self, folder: Path, text_layers: Sequence[int] | None = None):
        """Set the folder. `text_layers`: layers of the text encoder, if they can be chosen; None: the default."""
        self.folder, self.text_layers, entry = Path(folder), text_layers, ARCHITECTURES[self.name]
        self.pipeline, self.component = entry.pipeline, entry.component

    # Parts that differ between architectures

    def encode_prompts(self, pipe, prompts: list[str], device: str) -> Conditions:
        """Return the conditions of prompts. `pipe`: the pipeline with its text encoders, without other models."""
        raise NotImplementedError

    def token_limits(self, pipe) -> list[tuple]:
        """Return the tokenizer and maximum tokens of every encoder that reads the complete prompt."""
        raise NotImplementedError

    def posterior(self, pixels):
        """Encode (N, 3, height, width), −1 to 1, to posteriors (N, …), float32, from which `latents` are computed."""
        return posterior(self.vae, pixels)

    def latents(self, posteriors, generators: list):
        """Return the latents that noise is added to, (N, channels, height, width), on the device of `posteriors`."""
        mean, std = posteriors.unbind(1)
        noise = torch.stack([torch.randn(mean.shape[1:], generator=generator) for generator in generators])
        sampled = mean + std * components.to_device(noise, mean.device)
        return sampled * self.vae.config.scaling_factor

    def errors(self, model, latents, parts: list[dict], conditions: Conditions, dtype, **further):
        """Return the loss per image, (N,), at a random time of each.

        `model`: the network with its adapters, which gets inputs of `dtype`, and `further` as keywords. `conditions`
        are those of the images, one row each.
        """
        raise NotImplementedError

    def pipeline_options(self, safety_checker: bool) -> dict:
        """Return arguments of the pipeline's `from_pretrained`."""
        return {}

    def call_options(self) -> dict:
        """Return additional arguments of a call of this architecture's pipeline."""
        return {}

    def solver(self, config):
        """Return the scheduler that generates images. config: that of the model's scheduler. None: the model's one."""
        return None

    def resolution_step(self) -> int:
        """Return the number of pixels whose multiples a resolution must be."""
        return self.pixels_per_latent() * 2

    # Common parts

    def load(self, precision: str = "float32", weights: bool = True):
        """Load the network; without `weights`, build it from its config (see `without_weights`)."""
        cls = getattr(diffusers, self.network)
        if not weights:
            config = cls.load_config(self.folder, subfolder=self.component)
            return without_weights(lambda: cls.from_config(config).to(dtype(precision)))
        return components.load(cls, self.folder, self.component, precision)

    def prepare(self, device) -> None:
        """Load the frozen parts that training needs in addition to the network: the VAE and the noise schedule.

        The VAE is in float32, since some overflow in half precision.
        """
        vae = components.load(getattr(diffusers, self.autoencoder), self.folder, "vae")
        self.vae = vae.to(device).requires_grad_(False)
        self.noising = getattr(diffusers, self.schedule).from_pretrained(self.folder, subfolder="scheduler")

    def pixels_per_latent(self) -> int:
        """Return the number of pixels per latent along a side."""
        try:
            config = getattr(diffusers, self.autoencoder).load_config(self.folder, subfolder="vae")
        except OSError as problem:
            raise JobError(
                f"{self.folder}: expected vae/config.json, found none. Correct the model's `files`."
            ) from problem
        return 2 ** (len(config["block_out_channels"]) - 1)

    def check_resolution(self, resolution: int) -> None:
        step = self.resolution_step()
        if resolution % step:
            raise JobError(f"resolution: expected a multiple of {step} pixels, found {resolution}. Correct it.")

    def load_pipeline(self, precision: str, safety_checker: bool = False, without: tuple[str, ...] = ()):
        """Load the pipeline, `without` some of its models."""
        components.quiet()
        parts = pretrained.components(self.folder, dtype(precision), without)
        parts |= dict.fromkeys(without) | self.pipeline_options(safety_checker)
        cls = getattr(diffusers, self.pipeline)
        try:
            with safe_checkpoints.named(self.folder):
                return cls.from_pretrained(self.folder, dtype=dtype(precision), use_safetensors=True, **parts)
        except OSError as problem:
            reason = " ".join(str(problem).split())
            raise JobError(
                f"{self.folder}: diffusers cannot load a {self.pipeline} from it ({reason}). Correct the model's "
                "`files`."
            ) from problem

    @torch.no_grad()
    def embeddings(self, prompts: list[str], precision: str, device: str) -> Conditions:
        """Return the conditions of prompts for training, and free the text encoders.

        Raises JobError for a prompt that is longer than the text encoders take.
        """
        pipe = self.load_pipeline(self.text_precision or precision, without=(self.component, "vae"))
        self.check_lengths(pipe, prompts)
        for name, part in pipe.components.items():
            if name.startswith("text_encoder") and part is not None:
                part.to(device)
        conditions = self.encode_prompts(pipe, prompts, device)
        del pipe, part
        gc.collect()  # the pipeline is in a cycle of references
        return conditions

    def check_lengths(self, pipe, prompts: list[str]) -> None:
        """Raise JobError if a prompt is longer than the text encoders' maximum: its end would be ignored."""
        for tokenizer, limit in self.token_limits(pipe):
            for prompt in prompts:
                if (found := len(tokenizer(prompt).input_ids)) > limit:
                    raise JobError(
                        f"{prompt[:SHOWN]!r}: expected at most {limit} tokens, which the text encoder of "
                        f"{self.pipeline} takes, found {found}. Shorten the prompt."
                    )
