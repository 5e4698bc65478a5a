"""Stable Diffusion: loading its components and a run's weights, generating images from prompts and seeds."""

from math import prod
from pathlib import Path

from PIL.Image import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.models import adapters, memory, pretrained
from hra_workflow.models.precision import dtype
from hra_workflow.models.shapes import without_weights


def load_component(cls, folder: Path, name: str, precision: str = "float32"):
    """Load one component of a pipeline's folder: unet, vae, text_encoder."""
    quiet()
    try:
        with safe_checkpoints.named(Path(folder) / name):
            return pretrained.load(cls, folder, subfolder=name, dtype=dtype(precision), use_safetensors=True)
    except OSError as problem:
        reason = " ".join(str(problem).split())
        raise JobError(
            f"{folder}: expected a {name} that diffusers can load, found none ({reason}). Correct the model's `files`."
        ) from problem


def quiet() -> None:
    from diffusers.utils import logging

    logging.disable_progress_bar()


def load_unet(folder: Path, precision: str = "float32", weights: bool = True):
    """Load the UNet; without `weights`, build it from its config (see `without_weights`)."""
    from diffusers import UNet2DConditionModel

    if not weights:
        config = UNet2DConditionModel.load_config(folder, subfolder="unet")
        return without_weights(lambda: UNet2DConditionModel.from_config(config).to(dtype(precision)))
    return load_component(UNet2DConditionModel, folder, "unet", precision)


def count_parameters(folder: Path) -> int:
    """Count the UNet's parameters from its files' headers."""
    weights = (Path(folder) / "unet").glob("*.safetensors")
    return sum(prod(shape) for path in weights for shape in safe_checkpoints.shapes(path).values())


def to_tensor(image: Image):
    """Convert an RGB image to a float32 tensor (3, height, width), 0 to 255."""
    import numpy
    import torch

    return torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).float()


def posterior(vae, pixels):
    """Return mean and standard deviation, (N, 2, channels, height, width), of the VAE's posterior.

    `pixels`: (N, 3, height, width), −1 to 1, for latents that are smaller by the VAE's scale.
    """
    import torch

    found = vae.encode(pixels).latent_dist
    return torch.stack([found.mean, found.std], 1)


class TextEncoder:
    """Text embeddings of prompts for the UNet's cross-attention: (prompts, tokens, width)."""

    def __init__(self, folder: Path, precision: str, device: str):
        from transformers import CLIPTextModel, CLIPTokenizer

        self.tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
        self.model = load_component(CLIPTextModel, folder, "text_encoder", precision).to(device).requires_grad_(False)

    def __call__(self, prompts: list[str]):
        ids = self.tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        return self.model(ids.to(self.model.device))[0]


def text_embeddings(folder: Path, prompts: list[str], precision: str, device: str):
    return TextEncoder(folder, precision, device)(prompts)


class Sampler:
    """Generates images from prompts and seeds with multistep DPM-Solver++, or with the model's own scheduler.

    The noise is sampled on the CPU with one generator per image, so a seed gives the same image on every device. A
    different batch changes rounding: by at most one grey level in float32, and imperceptibly in half precision.
    """

    def __init__(self, folder: Path, sampling: dict, device: str):
        from diffusers import StableDiffusionPipeline

        quiet()
        keep = {} if sampling["safety_checker"] else {"safety_checker": None, "requires_safety_checker": False}
        parts = pretrained.components(folder, dtype(sampling["precision"]))
        try:
            with safe_checkpoints.named(folder):
                self.pipe = StableDiffusionPipeline.from_pretrained(
                    folder, dtype=dtype(sampling["precision"]), use_safetensors=True, **parts | keep
                )
        except OSError as problem:
            reason = " ".join(str(problem).split())
            raise JobError(
                f"{folder}: diffusers cannot load a Stable Diffusion from it ({reason}). Correct the model's `files`."
            ) from problem
        if sampling["safety_checker"] and self.pipe.safety_checker is None:
            raise JobError(
                f"{folder} has no safety checker. Set `safety_checker: false`, or add it to the model's files."
            )
        if sampling.get("scheduler") != "model":
            self.pipe.scheduler = self.scheduler(self.pipe.scheduler.config)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.to(device)
        self.pipe.unet.requires_grad_(False)
        self.folder, self.sampling, self.device = folder, sampling, device
        self.adapted, self.weights = None, None
        check_resolution(self.pipe, sampling["resolution"])

    @staticmethod
    def scheduler(config):
        from diffusers import DPMSolverMultistepScheduler

        return DPMSolverMultistepScheduler.from_config(config)

    def use(self, method: dict, weights: Path) -> None:
        """Load a run's weights; a further call replaces them without reloading the base model."""
        if weights == self.weights:
            return
        if self.adapted is None:
            # PEFT inserts its layers into the pipeline's UNet in place.
            self.adapted = adapters.load(self.pipe.unet, method, weights.parent).to(self.device)
        else:
            adapters.exchange(self.adapted, method, weights)
        self.weights = weights

    def draw(self, prompts: list[str], seeds: list[int], *further: list) -> list[tuple]:
        """Generate (image, blocked) per prompt; the batch is halved if it does not fit into the GPU's memory.

        `further`: lists with additional values per image, for a subclass.
        """
        each = list(zip(prompts, seeds, *further, strict=True))
        return memory.split_on_oom(lambda some: self.at_once(*map(list, zip(*some, strict=True))), each, "images")

    def at_once(self, prompts: list[str], seeds: list[int], **options) -> list[tuple]:
        """Generate one batch; `options` are passed to the pipeline."""
        import torch

        side = self.sampling["resolution"] // self.pipe.vae_scale_factor
        shape = (1, self.pipe.unet.config.in_channels, side, side)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = [torch.randn(shape, generator=generator) for generator in generators]
        with torch.inference_mode():
            result = self.pipe(
                prompt=prompts,
                height=self.sampling["resolution"],
                width=self.sampling["resolution"],
                num_inference_steps=self.sampling["inference_steps"],
                guidance_scale=self.sampling["guidance"],
                eta=self.sampling.get("eta", 0.0),
                latents=torch.cat(noise).to(self.device, self.pipe.unet.dtype),
                generator=generators,
                **options,
            )
        flags = result.nsfw_content_detected or [False] * len(prompts)
        return [
            (image, bool(flag) or image.convert("L").getextrema()[1] == 0)
            for image, flag in zip(result.images, flags, strict=True)
        ]


def check_resolution(pipe, resolution: int) -> None:
    step = pipe.vae_scale_factor * 2 ** (len(pipe.unet.config.block_out_channels) - 1)
    if resolution % step:
        raise JobError(f"resolution: expected a multiple of {step} pixels, found {resolution}. Correct it.")
