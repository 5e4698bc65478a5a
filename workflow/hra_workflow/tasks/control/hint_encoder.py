"""The lightweight hint encoder, which feeds the control image to a UNet (section 4.2; OFT, arXiv 2306.07280).

`hint` is the control image throughout. Eight convolutions with SiLU in between reduce it to the size of the latents;
the result is added once, after the UNet's first convolution. The last convolution is initialised to zero, so that the
initial model equals the base model.
"""

import contextlib

import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

NAME = "hint_encoder"
GAIN = 1.68  # SiLU keeps 0.356 of a standard normal variable's mean square
CHANNELS = (16, 32, 96, 256)  # per resolution, for Stable Diffusion's VAE, which scales by 8


def channels(scale: int) -> tuple[int, ...]:
    """Return the channels of the encoder per resolution; one downsampling fewer than entries."""
    return CHANNELS[: scale.bit_length()]


def attach(unet, scale: int) -> None:
    """Add a float32 hint encoder to a UNet2DConditionModel as its submodule `hint_encoder`.

    `unet(noisy, times, context, hint=hint)` then adds the encoded hint, (N, 3, scale·height, scale·width) in 0 to 1
    for latents of (N, channels, height, width); without `hint` the UNet is unchanged. N may be a divisor of the number
    of latents: guidance passes [unconditional, conditional] with the same hints.

    `scale`: pixels of a hint per latent position along a side, a power of 2 up to 8.
    """
    encoder = ControlNetConditioningEmbedding(unet.config.block_out_channels[0], 3, channels(scale))
    unet.add_module(NAME, encoder.to(unet.device))
    # Module-level functions, not closures: the hooks of a copied UNet must act on the copy.
    unet.register_forward_pre_hook(take_hint, with_kwargs=True)
    unet.register_forward_hook(drop_hint, always_call=True)
    unet.conv_in.register_forward_hook(add_encoded)
    unet.conv_in.encoded = unet.conv_in.shown = None


def init_unit_variance(model) -> None:
    """Initialise the weights so that a hint keeps its variance up to the last convolution (still zero), without biases.

    With PyTorch's default initialisation, as in the official code, spatially varying signals are attenuated sixty times
    and constant ones eight times, and the control image takes effect only after thousands of steps.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and NAME in name.split(".") and "conv_out" not in name.split("."):
                weight = parameter.ndim > 1
                parameter.normal_(std=GAIN / parameter[0].numel() ** 0.5) if weight else parameter.zero_()


def take_hint(unet, arguments: tuple, keywords: dict) -> tuple[tuple, dict]:
    hint = keywords.pop("hint", None)
    if hint is not None:
        unet.conv_in.encoded = encode(unet, hint)
    return arguments, keywords


def encode(unet, hint):
    """Encode a hint as (N, channels of the UNet's first block, height, width)."""
    encoder = unet.get_submodule(NAME)
    return encoder(hint.to(next(encoder.parameters())))


def drop_hint(unet, *_) -> None:
    unet.conv_in.encoded = None


def add_encoded(conv_in, _, output):
    encoded = conv_in.encoded if conv_in.encoded is not None else conv_in.shown
    if encoded is None:
        return output
    return output + encoded.to(output.dtype).repeat(len(output) // len(encoded), 1, 1, 1)


@contextlib.contextmanager
def cached_hint(unet, hint):
    """Use this hint in every call of the UNet without `hint`; it is encoded once for all steps of a sampler."""
    with torch.no_grad():
        unet.conv_in.shown = encode(unet, hint)
    try:
        yield
    finally:
        unet.conv_in.shown = None
