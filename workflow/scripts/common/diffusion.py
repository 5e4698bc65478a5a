"""Stable Diffusion: loading its parts, a run's weights put in and exchanged, images from prompts and seeds."""

from pathlib import Path

from common import adapters, memory
from common.job import JobError

PRECISIONS = {"float32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def dtype(precision: str):
    import torch

    return getattr(torch, PRECISIONS[precision])


def part(cls, folder: Path, name: str, precision: str = "float32"):
    """One part of a pipeline's folder: unet, vae, text_encoder."""
    quiet()
    try:
        return cls.from_pretrained(folder, subfolder=name, dtype=dtype(precision), use_safetensors=True)
    except OSError as problem:
        reason = " ".join(str(problem).split())
        raise JobError(
            f"{folder}: no {name} that diffusers can load ({reason}). Correct the model's `files`."
        ) from problem


def quiet() -> None:
    from diffusers.utils import logging

    logging.disable_progress_bar()


def load_unet(folder: Path, precision: str = "float32"):
    from diffusers import UNet2DConditionModel

    return part(UNet2DConditionModel, folder, "unet", precision)


def count_parameters(folder: Path) -> int:
    """Parameters of the UNet by its files' headers."""
    from math import prod

    from safetensors import safe_open

    total = 0
    for path in (Path(folder) / "unet").glob("*.safetensors"):
        with safe_open(path, "pt") as stream:
            total += sum(prod(stream.get_slice(name).get_shape()) for name in stream.keys())  # noqa: SIM118
    return total


def text_embeddings(folder: Path, prompts: list[str], precision: str, device: str):
    """(prompts, tokens, width): what the UNet attends to."""
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    encoder = part(CLIPTextModel, folder, "text_encoder", precision).to(device)
    ids = tokenizer(
        prompts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        return encoder(ids.to(device))[0]


class Sampler:
    """Images from prompts and seeds: DPM-Solver++ multistep, whose only chance is the first noise.

    That noise is drawn on the CPU by a generator of the image's own, so a seed means one picture on any device. In
    other batches the rounding differs: by at most one grey level in float32, visibly nothing in half precision.
    """

    def __init__(self, folder: Path, sampling: dict, device: str):
        from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        quiet()
        keep = {} if sampling["safety_checker"] else {"safety_checker": None, "requires_safety_checker": False}
        try:
            self.pipe = StableDiffusionPipeline.from_pretrained(
                folder, dtype=dtype(sampling["precision"]), use_safetensors=True, **keep
            )
        except OSError as problem:
            reason = " ".join(str(problem).split())
            raise JobError(f"{folder}: not a Stable Diffusion that diffusers can load ({reason}).") from problem
        if sampling["safety_checker"] and self.pipe.safety_checker is None:
            raise JobError(
                f"{folder} has no safety checker. Set `safety_checker: false`, or add it to the model's files."
            )
        self.pipe.scheduler = DPMSolverMultistepScheduler.from_config(self.pipe.scheduler.config)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.to(device)
        self.pipe.unet.requires_grad_(False)
        self.sampling, self.device, self.adapted, self.weights = sampling, device, None, None
        check_resolution(self.pipe, sampling["resolution"])

    def use(self, method: dict, weights: Path) -> None:
        """Put a run's weights in; later ones take the place of the first without loading the base again."""
        if weights == self.weights:
            return
        if self.adapted is None:
            # PEFT puts its layers into the UNet that the pipeline holds.
            self.adapted = adapters.load(self.pipe.unet, method, weights.parent).to(self.device)
        else:
            adapters.exchange(self.adapted, method, weights)
        self.weights = weights

    def draw(self, prompts: list[str], seeds: list[int]) -> list[tuple]:
        """(image, blocked) for each; in halves where the GPU's memory is too small for all at once."""
        pairs = list(zip(prompts, seeds, strict=True))
        return memory.halved(lambda some: self.at_once(*map(list, zip(*some, strict=True))), pairs, "images")

    def at_once(self, prompts: list[str], seeds: list[int]) -> list[tuple]:
        import torch

        side = self.sampling["resolution"] // self.pipe.vae_scale_factor
        shape = (1, self.pipe.unet.config.in_channels, side, side)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        with torch.inference_mode():
            result = self.pipe(
                prompts,
                height=self.sampling["resolution"],
                width=self.sampling["resolution"],
                num_inference_steps=self.sampling["inference_steps"],
                guidance_scale=self.sampling["guidance"],
                latents=torch.cat(noise).to(self.device, self.pipe.unet.dtype),
            )
        flags = result.nsfw_content_detected or [False] * len(prompts)
        return [
            (image, bool(flag) or image.convert("L").getextrema()[1] == 0)
            for image, flag in zip(result.images, flags, strict=True)
        ]


def check_resolution(pipe, resolution: int) -> None:
    step = pipe.vae_scale_factor * 2 ** (len(pipe.unet.config.block_out_channels) - 1)
    if resolution % step:
        raise JobError(f"tasks.subject.resolution is {resolution}; this model makes multiples of {step} pixels.")
