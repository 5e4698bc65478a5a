"""Reading of a complete model in the format of the official scripts (tool_add_hra.py, train.py).

LDM's layout is extended by `….hra_u` and `….fixed_linear.weight` of every adapted layer and by the hint encoder's
`control_model.input_hint_block.…`.
"""

import copy
from pathlib import Path

import torch

from hra import from_official
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, ldm_checkpoint
from hra_workflow.models.built_adapters import PREFIX
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model

FIXED, HRA, HINT = ".fixed_linear.", ".hra_u", "control_model.input_hint_block."


def hint_names(blocks: int) -> dict[str, str]:
    """Map the hint encoder's weight names to the official code's: a sequence of alternating convolutions and SiLUs."""
    layers = ["conv_in", *(f"blocks.{index}" for index in range(blocks)), "conv_out"]
    return {
        f"{layer}.{kind}": f"{HINT}{2 * place}.{kind}"
        for place, layer in enumerate(layers)
        for kind in ("weight", "bias")
    }


def split(state: dict) -> tuple[dict, dict[str, torch.Tensor]]:
    """Split into the base model's weights under LDM's names and the official code's additions under its names."""
    added = {name: value for name, value in state.items() if name.endswith(HRA) or name.startswith(HINT)}
    return {name.replace(FIXED, "."): value for name, value in state.items() if name not in added}, added


def read(path: Path, folder: Path, method: dict, out: Path):
    """Return an official checkpoint's base model as a diffusers pipeline; write its adapter and hint encoder to `out`.

    `folder`: as in ldm_checkpoint.pipeline. `method`: of kind hra, with the r and the targets of the file. Raises
    JobError with the first weight that is missing in one of them or has another shape.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    base, added = split(ldm_checkpoint.read(path))
    pipeline = ldm_checkpoint.pipeline(base, folder, path)
    unet = copy.deepcopy(pipeline.unet).requires_grad_(False)
    control_model.ready(unet, method, StableDiffusion(folder).pixels_per_latent())
    try:
        found = from_official(base | added)[1]
    except ValueError as problem:
        raise JobError(f"{path}: {problem}") from problem
    for name, official in hint_names(len(unet.get_submodule(hint_encoder.NAME).blocks)).items():
        found |= {f"{PREFIX}{hint_encoder.NAME}.{name}": added[official]} if official in added else {}
    model = adapters.insert(unet, method, control_model.head(method))
    expected = get_peft_model_state_dict(model)
    strange = sorted(expected.keys() ^ found.keys())
    strange += [name for name in found if name in expected and found[name].shape != expected[name].shape]
    if strange:
        raise JobError(
            f"{path} does not match the method: {strange[0]} is in one of them only, or has another shape. "
            f"The method has {method['peft']} on {', '.join(method['targets'])}; correct r or the targets."
        )
    set_peft_model_state_dict(model, found)
    adapters.save(model, out)
    return pipeline
