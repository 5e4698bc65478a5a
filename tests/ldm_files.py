"""Single-file checkpoints of Stable Diffusion as other programs write them.

LDM's names are the inverse of diffusers' loaders (diffusers.loaders.single_file_utils), for any number of layers.
"""

import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from controlled import PARTS
from hra_workflow.models import ldm_checkpoint

UNET, AUTOENCODER, TEXT = ldm_checkpoint.PARTS.values()
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
SCHEDULE = ("betas", "alphas_cumprod", "posterior_variance")  # buffers in LDM's files


def layout(pipeline) -> dict[str, torch.Tensor]:
    """Return a Stable Diffusion's weights under LDM's names, with the buffers that LDM's files also contain."""
    state = {name: torch.ones(1000) for name in SCHEDULE}
    for part in PARTS:
        weights = getattr(pipeline, part).state_dict()
        for name, ldm in names(part, getattr(pipeline, part)).items():
            convolution = part == "vae" and ".attentions." in name and weights[name].dim() == 2
            state[ldm] = weights[name][:, :, None, None] if convolution else weights[name]
    return state | {ldm_checkpoint.POSITIONS: torch.arange(pipeline.text_encoder.config.max_position_embeddings)[None]}


def write(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write a .ckpt or .safetensors file; safetensors does not accept two names for the same memory."""
    if path.suffix == ".safetensors":
        save_file({name: value.clone().contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)


def names(part: str, model) -> dict[str, str]:
    """Map diffusers' (or transformers') names of a component's weights to LDM's."""
    listed = [name for name in model.state_dict() if "position_ids" not in name]
    if part == "unet":
        return of_unet(listed, model.config.layers_per_block)
    return {"vae": of_autoencoder, "text_encoder": of_text_encoder}[part](listed)


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
