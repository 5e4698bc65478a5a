"""UNets conditioned on a control image: with the hint encoder and a method's adapters, or with a ControlNet.

models/adapters.py trains, saves and loads both: the hint encoder is treated like a classifier's head and saved with the
adapter; only the ControlNet of a ControlNet model is trained and saved.
"""

from pathlib import Path

import torch
from PIL.Image import Image

from hra_workflow import methods
from hra_workflow.models import adapters, diffusion
from hra_workflow.models.diffusion.components import to_tensor
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control.task import Control

CONTROLNET = "controlnet"  # name of the module


class WithControlNet(torch.nn.Module):
    """A frozen UNet with diffusers' ControlNet, initialised to a copy of the UNet's encoder (arXiv 2302.05543)."""

    def __init__(self, unet, channels: tuple[int, ...]):
        from diffusers import ControlNetModel

        super().__init__()
        self.unet = unet.requires_grad_(False)
        # Fully trained and therefore in float32: small steps would be lost in half precision.
        self.controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels).float()

    def forward(self, noisy, times, context, hint):
        """Run like the UNet's forward; hint (N, 3, height, width) in pixels, 0 to 1."""
        dtype = next(self.controlnet.parameters()).dtype
        residuals, middle = self.controlnet(
            noisy.to(dtype), times, context.to(dtype), controlnet_cond=hint.to(dtype), return_dict=False
        )
        return self.unet(
            noisy,
            times,
            context,
            down_block_additional_residuals=tuple(one.to(noisy.dtype) for one in residuals),
            mid_block_additional_residual=middle.to(noisy.dtype),
        )

    def enable_gradient_checkpointing(self) -> None:
        self.unet.enable_gradient_checkpointing()
        self.controlnet.enable_gradient_checkpointing()


def head(method: dict) -> list[str]:
    """Return the modules trained along with the adapters: `head` of the functions in models/adapters.py."""
    return [CONTROLNET if methods.entry(method).controlnet else hint_encoder.NAME]


def count(model, method: dict) -> dict[str, int]:
    """Count parameters with adapters.count; the paper counts neither the hint encoder nor any other head."""
    return adapters.count(model, [] if methods.entry(method).controlnet else head(method))


def load(folder: Path, method: dict, precision: str = "float32", weights: bool = True):
    """Load the UNet of a diffusers folder and attach the hint encoder; nothing is trainable and it has no adapter yet.

    `weights`: see Diffusion.load. Only the hint encoder is randomly initialised.
    """
    base = diffusion.architecture_in(folder, among=Control.architectures)
    return ready(base.load(precision, weights).requires_grad_(False), method, base.pixels_per_latent())


def ready(unet, method: dict, scale: int):
    if methods.entry(method).controlnet:
        return WithControlNet(unet, hint_encoder.channels(scale))
    hint_encoder.attach(unet, scale)
    return unet


def pixels(picture: Image) -> torch.Tensor:
    """Convert RGB to (3, height, width), −1 to 1, as the VAE expects."""
    return to_tensor(picture) / 127.5 - 1


def load_trained(folder: Path, method: dict, weights: Path):
    """Load a run's model for sampling in float32, with adapters merged into the UNet's weights to save time per step.

    They are merged into freshly loaded weights: exact up to rounding, independent of earlier merges. Adapter types that
    cannot be merged remain adapters.
    """
    model = adapters.load(load(folder, method), method, weights.parent)
    if not methods.entry(method).adapter.config:
        return model
    unet = model.get_base_model()
    # PEFT unloads only modules with their own weight from its wrapper, and the encoder is a module of modules.
    unet.add_module(hint_encoder.NAME, unet.get_submodule(hint_encoder.NAME).modules_to_save["default"])
    return model.merge_and_unload() if methods.entry(method).adapter.merges else unet
