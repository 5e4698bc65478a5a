"""Mapping of diffusers' weight names of Stable Diffusion to those of LDM, the layout of v1-5-pruned.ckpt.

This is the inverse of diffusers' loaders (diffusers.loaders.single_file_utils), for any number of layers.
"""

import re

UNET, AUTOENCODER, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."
HINT_ENCODER = "hint_encoder"  # submodule of the UNet that is not part of Stable Diffusion
POSITIONS = f"{TEXT}embeddings.position_ids"

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def of_unet(names: list[str], layers_per_block: int) -> dict[str, str]:
    """Map diffusers' weight names of a UNet2DConditionModel to LDM's."""
    from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING

    outer = DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"]
    with_attention = {name.split(".attentions.")[0] for name in names if ".attentions." in name}
    return {
        name: UNET + (outer[name] if name in outer else unet_key(name, layers_per_block + 1, with_attention))
        for name in names
    }


def unet_key(name: str, size: int, with_attention: set[str]) -> str:
    """Map one name; `size`: LDM blocks per diffusers block; `with_attention`: diffusers blocks with attention."""
    kind, _, rest = name.partition(".")
    if kind == "mid_block":
        part, index, rest = rest.split(".", 2)
        place = 2 * int(index) + (part == "attentions")
        return f"middle_block.{place}.{inner(rest) if part == 'resnets' else rest}"
    block, part, index, rest = rest.split(".", 3)
    first, side = int(block) * size, "input_blocks" if kind == "down_blocks" else "output_blocks"
    if part == "downsamplers":
        return f"{side}.{first + size}.0.op.{rest.removeprefix('conv.')}"
    if part == "upsamplers":
        return f"{side}.{first + size - 1}.{1 + (f'{kind}.{block}' in with_attention)}.{rest}"
    place = first + int(index) + (kind == "down_blocks")  # input block 0 is the first convolution
    return f"{side}.{place}.0.{inner(rest)}" if part == "resnets" else f"{side}.{place}.1.{rest}"


def inner(name: str) -> str:
    layer, _, rest = name.partition(".")
    return f"{RESNET[layer]}.{rest}"


def of_autoencoder(names: list[str]) -> dict[str, str]:
    """Map diffusers' weight names of an AutoencoderKL to LDM's."""
    from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING

    outer = DIFFUSERS_TO_LDM_MAPPING["vae"]
    last = max(int(found[1]) for name in names if (found := re.search(r"up_blocks\.(\d+)", name)))
    return {name: AUTOENCODER + outer.get(name, autoencoder_key(name, last)) for name in names}


def autoencoder_key(name: str, last: int) -> str:
    """Map one name; `last`: index of the decoder's last block, which LDM counts from the other end."""
    name = re.sub(r"down_blocks\.(\d+)\.", r"down.\1.", name)
    name = re.sub(r"up_blocks\.(\d+)\.", lambda found: f"up.{last - int(found[1])}.", name)
    name = re.sub(r"(down|up)samplers\.0\.", r"\1sample.", name)
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = name.replace(".resnets.", ".block.").replace("conv_shortcut", "nin_shortcut")
    before, found, after = name.partition("mid_block.attentions.0.")
    if not found:
        return name
    layer, _, rest = after.rpartition(".")
    return f"{before}mid.attn_1.{ATTENTION[layer]}.{rest}"


def of_text_encoder(names: list[str]) -> dict[str, str]:
    """Map transformers' weight names of a CLIPTextModel (with `text_model.` before 5.6) to LDM's."""
    return {name: TEXT + name.removeprefix("text_model.") for name in names}
