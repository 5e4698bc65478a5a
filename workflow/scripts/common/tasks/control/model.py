"""UNets that follow a hint: with the light hint encoder and a method's adapters, or a whole ControlNet beside them.

Both are trained, saved and loaded by common/models/adapters.py: the hint encoder is to an adapter what the head is to a
classifier's, and is saved beside it; a ControlNet is all that is trained and saved.
"""

from pathlib import Path

import torch
from PIL.Image import Image

from common.core.errors import JobError
from common.data import safe_checkpoints
from common.methods import METHODS
from common.models import adapters, built_adapters, stable_diffusion
from common.tasks.control import hint_encoder

CONTROLNET = "controlnet"  # name of the module


class WithControlNet(torch.nn.Module):
    """A frozen UNet with diffusers' ControlNet, which starts as a copy of the UNet's encoder (arXiv 2302.05543)."""

    def __init__(self, unet, channels: tuple[int, ...]):
        from diffusers import ControlNetModel

        super().__init__()
        self.unet = unet.requires_grad_(False)
        # Trained in full, and therefore in float32: small steps would be lost in half precision.
        self.controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels).float()

    def forward(self, noisy, times, context, hint):
        """As the UNet's forward; hint (N, 3, height, width) in pixels, 0 to 1."""
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
    """What is trained beside the method's adapters: `head` of the functions in common/models/adapters.py."""
    return [CONTROLNET if METHODS[method["kind"]].controlnet else hint_encoder.NAME]


def count(model, method: dict) -> dict[str, int]:
    """Parameters as adapters.count gives them; the paper counts neither the hint encoder nor any other head."""
    return adapters.count(model, [] if METHODS[method["kind"]].controlnet else head(method))


def load(folder: Path, method: dict, precision: str = "float32", channels: tuple[int, ...] | None = None):
    """The UNet of a diffusers folder, ready for hints; nothing of it is trainable and no adapter is in it yet.

    `channels`: of the hint encoder, see hint_encoder.attach. Its start, and nothing else here, is drawn by torch.
    """
    unet = stable_diffusion.load_unet(folder, precision).requires_grad_(False)
    return ready(unet, method, autoencoder_scale(folder), channels)


def ready(unet, method: dict, scale: int, channels: tuple[int, ...] | None = None):
    if METHODS[method["kind"]].controlnet:
        return WithControlNet(unet, channels or hint_encoder.CHANNELS[: scale.bit_length()])
    hint_encoder.attach(unet, scale, channels)
    return unet


def checked_tensor(picture: Image, side: int, what: str) -> torch.Tensor:
    """(3, side, side), 0 to 255; JobError, which calls the picture `what`, unless it is RGB and of that size."""
    if picture.mode != "RGB" or picture.size != (side, side):
        raise JobError(
            f"{what} is {picture.mode} of {picture.width} × {picture.height} pixels; expected RGB of {side} × {side}. "
            "Correct the dataset's conversion, or the resolution."
        )
    return stable_diffusion.to_tensor(picture)


def autoencoder_scale(folder: Path) -> int:
    """Pixels per number of the latents, along a side."""
    from diffusers import AutoencoderKL

    try:
        config = AutoencoderKL.load_config(folder, subfolder="vae")
    except OSError as problem:
        raise JobError(f"{folder}: no vae/config.json. Correct the model's `files`.") from problem
    return 2 ** (len(config["block_out_channels"]) - 1)


def require_head(model, method: dict, weights: Path) -> None:
    """Raise JobError unless the file of a run holds a whole hint encoder or ControlNet, of this model's sizes."""
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
    """A run's model for sampling, in float32: adapters are merged into the UNet's weights, so a step costs no more.

    Merged from the weights as they came, in float32: exact up to rounding, whatever was merged before.
    """
    model = load(folder, method, channels=channels)
    if METHODS[method["kind"]].trains:
        require_head(model, method, weights)
    model = adapters.load(model, method, weights.parent)
    if not METHODS[method["kind"]].peft_config:
        return model
    unet = model.get_base_model()
    # PEFT unloads from a wrapper only what has a weight of its own, and the encoder is a module of modules.
    unet.add_module(hint_encoder.NAME, unet.get_submodule(hint_encoder.NAME).modules_to_save["default"])
    return model.merge_and_unload()
