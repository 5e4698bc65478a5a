"""The light hint encoder: what steers a UNet beside the text (HRA paper, Section 4.2; from OFT, arXiv 2306.07280).

Eight convolutions with SiLU between them bring a hint to the size of the latents; the sum is added once, after the
UNet's first convolution. The last one starts at zero, so that the UNet starts as it came.
"""

import contextlib

import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

from common.core.errors import JobError
from common.models.ldm import keys as ldm_keys

NAME = ldm_keys.HINT_ENCODER
GAIN = 1.68  # SiLU keeps 0.356 of a standard normal variable's mean square
CHANNELS = (16, 32, 96, 256)  # for Stable Diffusion's VAE, which scales by 8: one halving less than entries


def attach(unet, scale: int, channels: tuple[int, ...] | None = None) -> None:
    """Give a UNet2DConditionModel a hint encoder in float32, as its submodule `hint_encoder`.

    `unet(noisy, times, context, hint=hint)` then adds the encoded hint, (N, 3, scale·height, scale·width) in 0 to 1
    for latents of (N, channels, height, width); without `hint` the UNet is as before. N may be a divisor of the number
    of latents: guidance passes [unconditional, conditional], each with the same hints.

    `scale`: pixels of a hint per number of the latents, a power of 2. `channels`: after each size of the picture.
    """
    halvings = scale.bit_length() - 1
    channels = channels or CHANNELS[: halvings + 1]
    if scale != 2 ** (len(channels) - 1):
        raise JobError(
            f"a hint encoder with channels {channels} scales by {2 ** (len(channels) - 1)}, the model's autoencoder "
            f"by {scale}. Give one number of channels for each of the {halvings + 1} sizes."
        )
    encoder = ControlNetConditioningEmbedding(unet.config.block_out_channels[0], 3, channels)
    unet.add_module(NAME, encoder.to(unet.device))
    # Functions of the module, not closures: a copy of the UNet has hooks on itself.
    unet.register_forward_pre_hook(take_hint, with_kwargs=True)
    unet.register_forward_hook(drop_hint, always_call=True)
    unet.conv_in.register_forward_hook(add_encoded)
    unet.conv_in.encoded = unet.conv_in.shown = None


def init_unit_variance(model) -> None:
    """Weights at which a hint reaches the last convolution, still zero, as strong as it came, and no biases.

    At PyTorch's own, which the official code has, what differs from pixel to pixel gets sixty times weaker on its way,
    what is the same everywhere eight times: it takes thousands of steps until a hint shows.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and NAME in name.split(".") and "conv_out" not in name.split("."):
                weight = parameter.ndim > 1
                parameter.normal_(std=GAIN / parameter[0].numel() ** 0.5) if weight else parameter.zero_()


def take_hint(unet, arguments: tuple, keywords: dict) -> tuple[tuple, dict]:
    hint = keywords.pop("hint", None)
    if hint is not None:
        check(unet, hint, arguments[0] if arguments else keywords["sample"])
        unet.conv_in.encoded = encode(unet, hint)
    return arguments, keywords


def encode(unet, hint):
    """(N, channels of the UNet's first block, height, width)."""
    encoder = unet.get_submodule(NAME)
    return encoder(hint.to(next(encoder.parameters())))


def drop_hint(unet, *_) -> None:
    unet.conv_in.encoded = None


def add_encoded(conv_in, _, output):
    encoded = conv_in.encoded if conv_in.encoded is not None else conv_in.shown
    if encoded is None:
        return output
    return output + encoded.to(output.dtype).repeat(len(output) // len(encoded), 1, 1, 1)


def check(unet, hint, latents) -> None:
    """Raise JobError unless the hints fit the latents."""
    scale = 2 ** (len(unet.get_submodule(NAME).blocks) // 2)
    wanted = (3, *(scale * side for side in latents.shape[2:]))
    if tuple(hint.shape[1:]) != wanted or len(latents) % len(hint):
        raise JobError(
            f"hints of the shape {tuple(hint.shape)} for latents of {tuple(latents.shape)}: expected (N, "
            f"{', '.join(map(str, wanted))}) with N or a divisor of it. Give hints of the size of the images."
        )


@contextlib.contextmanager
def cached_hint(unet, hint):
    """Inside, every call of the UNet without `hint` has this one: encoded once, for all steps of a sampler."""
    with torch.no_grad():
        unet.conv_in.shown = encode(unet, hint)
    try:
        yield
    finally:
        unet.conv_in.shown = None
