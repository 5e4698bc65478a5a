"""A run's complete model as a single-file checkpoint in the format of the official scripts (tool_add_hra.py, train.py).

LDM's layout is extended by `….hra_u` and `….fixed_linear.weight` of every adapted layer and by the hint encoder's
`control_model.input_hint_block.…`. Adapters that the official code does not have are merged into the weights.
"""

import copy
from pathlib import Path

import torch

from hra_workflow import methods
from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.models import adapters
from hra_workflow.models.built_adapters import PREFIX
from hra_workflow.models.diffusion import components
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion
from hra_workflow.models.ldm import checkpoint as ldm_checkpoint
from hra_workflow.models.ldm import keys as ldm_keys
from hra_workflow.tasks.control import hint_encoder
from hra_workflow.tasks.control import model as control_model

FIXED, HRA = ".fixed_linear.", ".hra_u"


def write(folder: Path, method: dict, weights: Path, path: Path) -> None:
    """Write a run's model to `path`, .ckpt or .safetensors; `folder`: the base model in diffusers' layout."""
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import CLIPTextModel

    entry = methods.entry(method)
    if entry.controlnet:
        raise JobError("the official HRA scripts have no ControlNet; use the run's own file with diffusers.")
    merged = control_model.load_trained(folder, method, weights)
    has_vectors = entry.adapter.in_official_file(method["peft"])
    unet = StableDiffusion(folder).load() if has_vectors else merged
    parts = {
        "unet": unet,
        "vae": components.load(AutoencoderKL, folder, "vae"),
        "text_encoder": components.load(CLIPTextModel, folder, "text_encoder"),
    }
    state = ldm_checkpoint.layout(parts)
    if has_vectors:
        state = adapted(state, safe_checkpoints.load(weights), ldm_checkpoint.names("unet", unet))
    encoder = merged.get_submodule(hint_encoder.NAME)
    for name, ldm in ldm_keys.of_hint_encoder(len(encoder.blocks)).items():
        state[ldm] = encoder.state_dict()[name]
    # An unused part of the official hint encoder, which its strict loading requires.
    times = {name: value for name, value in state.items() if name.startswith(f"{ldm_keys.UNET}time_embed.")}
    state |= {name.replace(ldm_keys.UNET, "control_model."): value for name, value in times.items()}
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    ldm_checkpoint.write(state | ldm_checkpoint.schedule(scheduler.config), path)


def adapted(state: dict, adapter: dict, known: dict[str, str]) -> dict:
    """Add the vectors u, (inputs, r) each, of an HRA adapter with PEFT's names to LDM's weights."""
    vectors = {name.removeprefix(PREFIX).removesuffix(HRA): u for name, u in adapter.items() if name.endswith(HRA)}
    layers = {known[f"{name}.weight"].removesuffix(".weight"): u for name, u in vectors.items()}
    fixed = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        fixed[f"{layer}{FIXED}{kind}" if layer in layers else name] = value
    return fixed | {f"{layer}{HRA}": u for layer, u in layers.items()}


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
