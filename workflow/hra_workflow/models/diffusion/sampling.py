"""Generation of images from prompts and seeds with a model and a run's weights."""

from pathlib import Path
from typing import ClassVar

import torch

from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, diffusion, memory


class Sampler:
    """Generates images from prompts and seeds: with multistep DPM-Solver++, or with the model's own scheduler.

    The noise is sampled on the CPU with one generator per image, so a seed gives the same image on every device. A
    different batch changes rounding: by at most one grey level in float32, and imperceptibly in half precision.

    truncates: whether longer prompts than the text encoders' maximum are truncated; else they raise an error.
    """

    truncates: ClassVar[bool] = False

    def __init__(self, folder: Path, sampling: dict, device: str):
        self.architecture = diffusion.architecture_in(folder, sampling.get("text_layers"))
        self.architecture.check_resolution(sampling["resolution"])
        self.pipe = self.architecture.load_pipeline(sampling["precision"], sampling["safety_checker"])
        if sampling["safety_checker"] and self.pipe.components.get("safety_checker", "none of its kind") is None:
            raise JobError(
                f"{folder} has no safety checker. Set `safety_checker: false`, or add it to the model's files."
            )
        if sampling.get("scheduler") != "model":
            self.pipe.scheduler = self.scheduler(self.pipe.scheduler.config) or self.pipe.scheduler
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.to(device)
        self.network.requires_grad_(False)
        self.folder, self.sampling, self.device = folder, sampling, device
        self.adapted, self.weights = None, None

    @property
    def network(self):
        return getattr(self.pipe, self.architecture.component)

    def scheduler(self, config):
        return self.architecture.solver(config)

    def use(self, method: dict, weights: Path) -> None:
        """Load a run's weights; a further call replaces them without reloading the base model."""
        if weights == self.weights:
            return
        if self.adapted is None:
            # PEFT inserts its layers into the pipeline's network in place.
            self.adapted = adapters.load(self.network, method, weights.parent).to(self.device)
        else:
            adapters.exchange(self.adapted, method, weights)
        self.weights = weights

    def draw(self, prompts: list[str], seeds: list[int], *further: list) -> list[tuple]:
        """Generate (image, blocked) per prompt; the batch is halved if it does not fit into the GPU's memory.

        `further`: lists with additional values per image, for a subclass.
        """
        if not self.truncates:
            self.architecture.check_lengths(self.pipe, prompts)
        each = list(zip(prompts, seeds, *further, strict=True))
        return memory.split_on_oom(lambda some: self.at_once(*map(list, zip(*some, strict=True))), each, "images")

    def at_once(self, prompts: list[str], seeds: list[int], **options) -> list[tuple]:
        """Generate one batch; `options` are passed to the pipeline."""
        side = self.sampling["resolution"] // (self.pipe.vae_scale_factor * self.architecture.patch)
        shape = (1, self.network.config.in_channels, side, side)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = [torch.randn(shape, generator=generator) for generator in generators]
        with torch.inference_mode():
            result = self.pipe(
                prompt=prompts,
                height=self.sampling["resolution"],
                width=self.sampling["resolution"],
                num_inference_steps=self.sampling["inference_steps"],
                guidance_scale=self.sampling["guidance"],
                latents=torch.cat(noise).to(self.device, self.network.dtype),
                generator=generators,
                **self.architecture.call_options(),
                **options,
            )
        flags = getattr(result, "nsfw_content_detected", None) or [False] * len(prompts)
        return [
            (image, bool(flag) or image.convert("L").getextrema()[1] == 0)
            for image, flag in zip(result.images, flags, strict=True)
        ]
