"""Single-file checkpoints of Stable Diffusion as other programs write them."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from controlled import PARTS
from hra_workflow.models.ldm import checkpoint as ldm_checkpoint
from hra_workflow.models.ldm import keys as ldm_keys


def layout(pipeline) -> dict[str, torch.Tensor]:
    """Return a Stable Diffusion's weights under LDM's names, with the buffers that LDM's files also contain."""
    state = {name: torch.ones(1000) for name in ldm_checkpoint.SCHEDULE}
    for part in PARTS:
        weights = getattr(pipeline, part).state_dict()
        for name, ldm in ldm_checkpoint.names(part, getattr(pipeline, part)).items():
            convolution = part == "vae" and ".attentions." in name and weights[name].dim() == 2
            state[ldm] = weights[name][:, :, None, None] if convolution else weights[name]
    return state | {ldm_keys.POSITIONS: torch.arange(pipeline.text_encoder.config.max_position_embeddings)[None]}


def write(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write a .ckpt or .safetensors file; safetensors does not accept two names for the same memory."""
    if path.suffix == ".safetensors":
        save_file({name: value.clone().contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)
