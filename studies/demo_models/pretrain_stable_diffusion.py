"""Train the demo's Stable Diffusion from scratch on synthetic images: the autoencoder, then the UNet.

The text encoder is not trained, as in Stable Diffusion, but here it is also not pretrained. Random features distinguish
words, which suffices for short captions. If it were trained too, all captions would be similar for thousands of steps.
"""

import copy
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

from hra_workflow.core.job import script
from hra_workflow.demo import object_images
from studies.demo_models import tiny_diffusion

WARMUP = 100  # steps
# With so few latents, the position would be visible through the noise of Stable Diffusion's last step, so the caption
# would not be needed for it. Here that step leaves almost nothing of the image, which requires the velocity as target.
SCHEDULER = {"beta_end": 0.02, "prediction_type": "v_prediction"}


@script
def main(job: dict) -> None:
    import torch

    params, folder = job["params"], Path(job["output"]["index"]).parent
    torch.set_num_threads(job["threads"])
    torch.manual_seed(params["seed"])
    rng = Random(f"pictures {params['seed']}")
    pipeline = tiny_diffusion.build(params["model"] | {"scheduler": SCHEDULER})
    start_as_identity(pipeline.unet)
    train_autoencoder(pipeline.vae, rng, **params["autoencoder"])
    scenes = [object_images.scene(rng) for _ in range(params["rows"])]
    mean, deviation = encode(pipeline.vae, scenes)
    # From here on, nothing depends on how long the autoencoder was trained.
    torch.manual_seed(params["seed"])
    rng = Random(f"captions {params['seed']}")
    # With CLIP's 0.02, the word embeddings would be dominated by the layers' outputs.
    torch.nn.init.normal_(pipeline.text_encoder.get_input_embeddings().weight)
    pipeline.vae.register_to_config(scaling_factor=1 / float(mean.std()))
    save_half(pipeline, folder)
    for phase, changes in enumerate(params["phases"]):
        if phase:  # with its own random numbers, so that it can also start from the previous stage's saved weights
            torch.manual_seed(params["seed"] + phase)
            rng = Random(f"captions {params['seed']} {phase}")
        for step in train_denoiser(pipeline, scenes, mean, deviation, rng, **params["denoiser"] | changes):
            print(f"stage {phase}, step {step}: saved to {folder}", file=sys.stderr, flush=True)
            save_half(pipeline, folder)


def save_half(pipeline, folder: Path) -> None:
    """Write a copy of the pipeline in float16, half the size."""
    smaller = copy.deepcopy({name: getattr(pipeline, name) for name in ("text_encoder", "unet", "vae")})
    for part in smaller.values():
        part.half()
    type(pipeline)(**pipeline.components | smaller, requires_safety_checker=False).save_pretrained(folder)


def train_autoencoder(
    vae, rng: Random, crop_steps: int, steps: int, batch_size: int, crop: int, learning_rate: float, kl: float
) -> None:
    """Train on crops around the objects, which are small and contain all details, and at the end on complete images.

    `kl`: weight of the KL divergence from unit noise, per latent value.
    """
    import torch
    from torch.nn import functional

    total = crop_steps + steps
    optimizer, schedule = optimizer_of(vae.parameters(), learning_rate, "cosine", total)
    vae.to(memory_format=torch.channels_last)
    # The latents' noise is initially small: at its usual size of 1 it would hide the signal from the decoder.
    with torch.no_grad():
        vae.quant_conv.bias[vae.config.latent_channels :] = -6
    for step in range(total):
        scenes = [draw(rng) for _ in range(batch_size // 2) for draw in (object_images.scene, any_scene)]
        batch = tensor(scenes)
        if step < crop_steps:
            batch = torch.stack([cut(*pair, crop, rng) for pair in zip(batch, scenes, strict=True)])
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(batch).latent_dist
            came = vae.decode(posterior.sample()).sample.float()
        loss = functional.l1_loss(came, batch) + functional.mse_loss(came, batch)
        (loss + kl * posterior.kl().mean() / posterior.mean[0].numel()).backward()
        advance(optimizer, schedule)
        report("autoencoder", step, total, loss.detach())


def any_scene(rng: Random) -> object_images.Scene:
    """Draw a scene in unnamed colours, perhaps with a band: the autoencoder must cover more than captions describe."""

    def colour() -> tuple[int, int, int]:
        return tuple(rng.randrange(256) for _ in range(3))

    found = replace(object_images.scene(rng), colour=colour(), background=colour())
    return replace(
        found,
        lower=colour() if rng.random() < 0.5 else None,
        band=colour() if rng.random() < 0.5 else None,
    )


def cut(picture, scene, side: int, rng: Random):
    """Crop a square of an image (3, height, width) with at least a part of its object."""
    left, top = (
        min(max(round(middle - side / 2 + rng.uniform(-side, side) / 3), 0), object_images.SIZE - side)
        for middle in (scene.x, scene.y)
    )
    return picture[:, top : top + side, left : left + side]


def train_denoiser(
    pipeline,
    scenes: list,
    mean,
    deviation,
    rng: Random,
    steps: int,
    batch_size: int,
    learning_rate: float,
    schedule: str,
    ema: float,
    unconditional: float,
    save_steps: int,
):
    """Train the UNet on noisy latents; yield steps at which, as at the end, the pipeline has the EMA weights.

    `unconditional`: fraction of empty captions, for classifier-free guidance.
    """
    import torch
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel, compute_snr

    noising = DDPMScheduler.from_config(pipeline.scheduler.config)
    scale = pipeline.vae.config.scaling_factor
    pipeline.unet.to(memory_format=torch.channels_last)
    parameters = list(pipeline.unet.parameters())
    average = EMAModel(parameters, decay=ema, use_ema_warmup=True, power=0.75)
    optimizer, rate = optimizer_of(parameters, learning_rate, schedule, steps)
    order = itertools.chain.from_iterable(rng.sample(range(len(scenes)), len(scenes)) for _ in itertools.count())
    for step in range(steps):
        chosen = list(itertools.islice(order, batch_size))
        captions = [
            "" if rng.random() < unconditional else object_images.caption(scenes[index], rng) for index in chosen
        ]
        tokens = pipeline.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        latents = (mean[chosen] + deviation[chosen] * torch.randn_like(mean[chosen])) * scale
        noise, times = torch.randn_like(latents), torch.randint(len(noising.betas), (batch_size,))
        with torch.no_grad():
            text = pipeline.text_encoder(tokens)[0]
        with torch.autocast("cpu", torch.bfloat16):
            came = pipeline.unet(noising.add_noise(latents, noise, times), times, text).sample.float()
        target = noising.get_velocity(latents, noise, times)
        # Weights of the image error: 1 to 5 (Min-SNR), because nearly clean images contribute little, and the
        # first steps, which determine the position, would otherwise have almost no weight.
        snr = compute_snr(noising, times)
        error = (came - target).square().mean((1, 2, 3))
        (error * snr.clamp(1, 5) / (snr + 1)).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        advance(optimizer, rate)
        average.step(parameters)
        report("denoiser", step, steps, error.detach().mean())
        if (step + 1) % save_steps == 0 or step + 1 == steps:
            average.store(parameters)
            average.copy_to(parameters)
            yield step + 1
            if step + 1 < steps:
                average.restore(parameters)


def start_as_identity(network) -> None:
    """Initialise residual blocks to the identity: random ones blur and hide colours for thousands of steps."""
    from diffusers.models.resnet import ResnetBlock2D
    from torch import nn

    for block in network.modules():
        if isinstance(block, ResnetBlock2D):
            nn.init.zeros_(block.conv2.weight)
            nn.init.zeros_(block.conv2.bias)


def optimizer_of(parameters, learning_rate: float, schedule: str, steps: int):
    import torch
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=0.01, fused=True)
    return optimizer, get_scheduler(schedule, optimizer, num_warmup_steps=WARMUP, num_training_steps=steps)


def advance(optimizer, schedule) -> None:
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()


def report(what: str, step: int, steps: int, loss) -> None:
    if (step + 1) % 50 == 0:
        print(f"{what} {step + 1}/{steps}: {float(loss):.4f}", file=sys.stderr, flush=True)


def tensor(scenes: list):
    """Render scenes as (N, 3, 64, 64), -1 to 1."""
    import numpy
    import torch

    drawn = torch.from_numpy(numpy.stack([object_images.picture(scene)[0] for scene in scenes]))
    return drawn.permute(0, 3, 1, 2).float() / 127.5 - 1


def encode(vae, scenes: list, batch_size: int = 100):
    """Compute mean and standard deviation of every scene's latents, each (N, 4, height, width)."""
    import torch

    found = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for first in range(0, len(scenes), batch_size):
            found.append(vae.encode(tensor(scenes[first : first + batch_size])).latent_dist)
    return tuple(torch.cat([getattr(part, name).float() for part in found]) for name in ("mean", "std"))


if __name__ == "__main__":
    main()
