"""Reading of a complete model in the format of the official scripts (tool_add_hra.py, train.py).

LDM's layout is extended by `….hra_u` and `….fixed_linear.weight` of every adapted layer and by the hint encoder's
`control_model.input_hint_block.…`.
"""

import copy
from pathlib import Path

import torch

from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from hra_workflow.models.built_adapters import PREFIX
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion
from hra_workflow.models.ldm import checkpoint as ldm_checkpoint
from hra_workflow.models.ldm import keys as ldm_keys
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model

FIXED, HRA = ".fixed_linear.", ".hra_u"


def split(state: dict) -> tuple[dict, dict[str, torch.Tensor]]:
    """Split into the base model's weights under LDM's names and the official code's additions under its names."""
    added = {name: value for name, value in state.items() if name.endswith(HRA) or name.startswith(ldm_keys.HINT)}
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
    layers = {ldm.removesuffix(".weight"): name for name, ldm in ldm_checkpoint.names("unet", unet).items()}
    control_model.ready(unet, method, StableDiffusion(folder).pixels_per_latent())
    encoder = ldm_keys.of_hint_encoder(len(unet.get_submodule(hint_encoder.NAME).blocks))
    hints = {ldm: f"{hint_encoder.NAME}.{name}" for name, ldm in encoder.items()}
    found = {}
    for ldm, value in added.items():
        layer = layers.get(ldm.removesuffix(HRA), ldm)
        found[PREFIX + hints.get(ldm, layer.removesuffix(".weight") + HRA)] = value
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
