"""UNets conditioned on a control image: with the hint encoder and a method's adapters, or with a ControlNet.

models/adapters.py trains, saves and loads both: the hint encoder is treated like a classifier's head and saved with the
adapter; only the ControlNet of a ControlNet model is trained and saved.
"""

from pathlib import Path

import torch
from PIL.Image import Image

from hra_workflow import methods
from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.models import adapters, built_adapters, diffusion
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


def load(
    folder: Path,
    method: dict,
    precision: str = "float32",
    channels: tuple[int, ...] | None = None,
    weights: bool = True,
):
    """Load the UNet of a diffusers folder and attach the hint encoder; nothing is trainable and it has no adapter yet.

    `channels`: those of the hint encoder, see hint_encoder.attach. `weights`: see Diffusion.load. Only the hint encoder
    is randomly initialised.
    """
    base = diffusion.architecture_in(folder, among=Control.architectures)
    return ready(base.load(precision, weights).requires_grad_(False), method, base.pixels_per_latent(), channels)


def ready(unet, method: dict, scale: int, channels: tuple[int, ...] | None = None):
    if methods.entry(method).controlnet:
        return WithControlNet(unet, channels or hint_encoder.CHANNELS[: scale.bit_length()])
    hint_encoder.attach(unet, scale, channels)
    return unet


def checked_tensor(picture: Image, side: int, what: str) -> torch.Tensor:
    """Convert to (3, side, side), 0 to 255; raise JobError, which calls it `what`, unless it is RGB of that size."""
    if picture.mode != "RGB" or picture.size != (side, side):
        raise JobError(
            f"{what}: expected RGB of {side} × {side} pixels, found {picture.mode} of {picture.width} × "
            f"{picture.height}. Correct the dataset's conversion, or the resolution."
        )
    return to_tensor(picture)


def pixels(picture: Image, side: int, what: str) -> torch.Tensor:
    """Convert to (3, side, side), −1 to 1, as the VAE expects; errors as in `checked_tensor`."""
    return checked_tensor(picture, side, what) / 127.5 - 1


def require_head(model, method: dict, weights: Path) -> None:
    """Raise JobError unless a run's file contains a complete hint encoder or ControlNet with this model's sizes."""
    prefix = f"{head(method)[0]}."
    found = {
        name.removeprefix(built_adapters.PREFIX): shape for name, shape in safe_checkpoints.shapes(weights).items()
    }
    expected = {name: tuple(one.shape) for name, one in model.state_dict().items() if name.startswith(prefix)}
    strange = [name for name in expected if found.get(name) != expected[name]]
    strange += [name for name in found if name.startswith(prefix) and name not in expected]
    if strange:
        raise JobError(
            f"{weights} does not belong to this model: {strange[0]} has the shape {found.get(strange[0])} in the file, "
            f"{expected.get(strange[0])} in the model."
        )


def load_trained(folder: Path, method: dict, weights: Path, channels: tuple[int, ...] | None = None):
    """Load a run's model for sampling in float32, with adapters merged into the UNet's weights to save time per step.

    They are merged into freshly loaded weights: exact up to rounding, independent of earlier merges. Adapter types that
    cannot be merged remain adapters.
    """
    model = load(folder, method, channels=channels)
    if methods.entry(method).trains:
        require_head(model, method, weights)
    model = adapters.load(model, method, weights.parent)
    if not methods.entry(method).adapter.config:
        return model
    unet = model.get_base_model()
    # PEFT unloads only modules with their own weight from its wrapper, and the encoder is a module of modules.
    unet.add_module(hint_encoder.NAME, unet.get_submodule(hint_encoder.NAME).modules_to_save["default"])
    return model.merge_and_unload() if methods.entry(method).adapter.merges else unet
