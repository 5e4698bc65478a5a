"""Single-file checkpoints as other programs write them: Stable Diffusion, or a run of the official control scripts."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from controlled import MODEL, PARTS, Run
from hra_workflow.models.built_adapters import PREFIX
from hra_workflow.models.ldm import checkpoint as ldm_checkpoint
from hra_workflow.models.ldm import keys as ldm_keys
from hra_workflow.tasks.control import hint_encoder


def layout(pipeline) -> dict[str, torch.Tensor]:
    """Return a Stable Diffusion's weights under LDM's names, with the buffers that LDM's files also contain."""
    state = {name: torch.ones(1000) for name in ldm_checkpoint.SCHEDULE}
    for part in PARTS:
        weights = getattr(pipeline, part).state_dict()
        for name, ldm in ldm_checkpoint.names(part, getattr(pipeline, part)).items():
            convolution = part == "vae" and ".attentions." in name and weights[name].dim() == 2
            state[ldm] = weights[name][:, :, None, None] if convolution else weights[name]
    return state | {ldm_keys.POSITIONS: torch.arange(pipeline.text_encoder.config.max_position_embeddings)[None]}


def official(run: Run) -> dict[str, torch.Tensor]:
    """Return the base model with a run's vectors and hint encoder under the names of the official train.py."""
    pipeline, adapter = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32), load_file(run.last)
    state, names = layout(pipeline), ldm_checkpoint.names("unet", pipeline.unet)
    for name, u in adapter.items():
        if name.endswith(".hra_u"):
            layer = names[f"{name.removeprefix(PREFIX).removesuffix('.hra_u')}.weight"].removesuffix(".weight")
            for kind in ("weight", "bias"):
                if f"{layer}.{kind}" in state:
                    state[f"{layer}.fixed_linear.{kind}"] = state.pop(f"{layer}.{kind}")
            state[f"{layer}.hra_u"] = u
    for name, ldm in ldm_keys.of_hint_encoder(blocks=4).items():
        state[ldm] = adapter[f"{PREFIX}{hint_encoder.NAME}.{name}"]
    times = [name for name in state if name.startswith(f"{ldm_keys.UNET}time_embed.")]
    return state | {name.replace(ldm_keys.UNET, "control_model."): state[name] for name in times}


def write(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write a .ckpt or .safetensors file; safetensors does not accept two names for the same memory."""
    if path.suffix == ".safetensors":
        save_file({name: value.clone().contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)
