"""A step of control training with images that are encoded in it, and with cached latents, at the demo's size.

    PYTHONPATH=tests python -m benchmarks.control_training FOLDER

Both runs take turns in one process, so that other load on the machine affects them alike. Prints one line of JSON: wall
and CPU seconds of a step (medians) and of the encoding per image, and bytes per image. For Stable Diffusion 1.5, whose
VAE is larger in proportion: operations and CPU seconds of the parts of a step on one image of 512 pixels.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from controlled import MODEL, SIDE, Run, rows, unet_method
from hra_workflow.data import images
from hra_workflow.models.diffusion import components
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control import latents
from hra_workflow.tasks.control import training as control_training

ROWS, BATCH, STEPS, WARM_UP = 64, 8, 30, 3


def timed(work: Callable) -> tuple[float, float]:
    before = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - before[0], time.process_time() - before[1]


def split(folder: Path) -> control_data.Split:
    """Write and open a training split of discs."""

    def make(row: tuple) -> dict:
        image, prompt, hint = row
        shown = {"image": images.to_png(image), "hint": images.to_png(hint)}
        return {"key": prompt, "prompt": prompt, "annotation": b""} | shown

    control_data.write(folder / "train.arrow", rows(ROWS), make, SIDE)
    return control_data.Split(folder, "train")


def trainer(folder: Path, samples_of) -> control_training.Trainer:
    method = unet_method(peft={"r": 8}, targets=["to_q", "to_k", "to_v", "to_out.0"])
    made = Run(folder, method, batch_size=BATCH, max_steps=STEPS).trainer()
    made.samples = control_training.Samples(samples_of, SIDE, seed=0)
    return made


def stable_diffusion_15(side: int) -> dict[str, Callable]:
    """Return the parts of a step on one image with Stable Diffusion 1.5's sizes and random weights, as functions."""
    unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8).requires_grad_(False)
    vae = AutoencoderKL(
        block_out_channels=[128, 256, 512, 512],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=2,
    ).requires_grad_(False)
    sizes = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    text = CLIPTextModel(CLIPTextConfig(**sizes)).requires_grad_(False)
    pixels, tokens = torch.zeros(1, 3, side, side), torch.zeros(1, 77, dtype=torch.long)
    # The hint enters after the first convolution, so the gradient flows back through everything else.
    inputs = torch.zeros(1, 4, side // 8, side // 8, requires_grad=True), torch.zeros(1), torch.zeros(1, 77, 768)
    return {
        "vae": lambda: vae.encoder(pixels),
        "text": lambda: text(tokens),
        "unet": lambda: unet(*inputs).sample.sum().backward(),
    }


def operations() -> dict[str, int]:
    """Count the floating-point operations of the parts at 512 pixels, without computing them."""
    with torch.device("meta"):
        found = {}
        for name, part in stable_diffusion_15(512).items():
            with FlopCounterMode(display=False) as counter:
                part()
            found[name] = counter.get_total_flops()
    return found


def seconds_of_parts() -> dict[str, tuple[float, float]]:
    """Measure wall and CPU seconds of the parts at 512 pixels; once, since they take half a minute."""
    return {name: timed(part) for name, part in stable_diffusion_15(512).items()}


def main(folder: Path) -> None:
    plain = split(folder)
    vae = components.load(AutoencoderKL, MODEL, "vae")
    encoding = timed(lambda: latents.write(folder / latents.FILE, plain, vae, "cpu", 1))
    cached = latents.Rows(plain, numpy.load(folder / latents.FILE, mmap_mode="r"))
    trainers = {name: trainer(folder / name, some) for name, some in (("encoded", plain), ("cached", cached))}
    seconds = {name: [] for name in trainers}
    for step in range(STEPS):
        for name, one in trainers.items():
            seconds[name].append(timed(partial(one.step, step)))
    found = {
        name: [statistics.median(column) for column in zip(*measured[WARM_UP:], strict=True)]
        for name, measured in seconds.items()
    }
    found |= {"encoding": [value / ROWS for value in encoding], "operations": operations()}
    found["seconds"] = seconds_of_parts()
    print(json.dumps(found | {"bytes": (folder / latents.FILE).stat().st_size // ROWS}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
