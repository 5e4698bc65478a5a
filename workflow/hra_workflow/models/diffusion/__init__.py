"""Text-to-image models: one class per architecture behind one interface, base.Diffusion.

It is plain Python: a dry run finds a model's architecture from its config entry or from existing files.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

from hra_workflow.core import files
from hra_workflow.core.errors import JobError, expect, one_of
from hra_workflow.data import safe_checkpoints, sources

INDEX = "model_index.json"
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
FLUX2 = [*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]  # modules of the blocks for image and text
FLUX2 += ["to_qkv_mlp_proj", "single_transformer_blocks.*.attn.to_out"]


class Architecture(NamedTuple):
    """An entry of the registry.

    title: its name in messages. implementation: `module:class`. pipeline: diffusers' class in model_index.json.
    component: the network in the pipeline that is fine-tuned. targets: named lists of modules in its blocks.
    own_solver: whether images are generated only with the scheduler that the model's files name.
    text_layers: whether it is conditioned on layers of its text encoder that can be chosen.
    """

    title: str
    implementation: str
    pipeline: str
    component: str
    targets: dict[str, list[str]]
    own_solver: bool = False
    text_layers: bool = False


ARCHITECTURES = {
    "stable-diffusion": Architecture(
        "Stable Diffusion 1.x and 2.x",
        f"{__name__}.stable_diffusion:StableDiffusion",
        "StableDiffusionPipeline",
        "unet",
        {"attention": ATTENTION, "all_linear": [*ATTENTION, "ff.net.0.proj", "ff.net.2"]},
    ),
    "stable-diffusion-xl": Architecture(
        "Stable Diffusion XL",
        f"{__name__}.stable_diffusion_xl:StableDiffusionXL",
        "StableDiffusionXLPipeline",
        "unet",
        {"attention": ATTENTION, "all_linear": [*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]},
    ),
    "flux2-klein": Architecture(
        "FLUX.2 klein",
        f"{__name__}.flux2:Flux2Klein",
        "Flux2KleinPipeline",
        "transformer",
        {"attention": FLUX2, "all_linear": [*FLUX2, "linear_in", "linear_out"]},
        own_solver=True,
        text_layers=True,
    ),
}


def architecture_name(folder: Path, among: Collection[str] = ARCHITECTURES) -> str:
    """Return the name of the architecture of a model in diffusers' layout; raise JobError if it is none of `among`."""
    index = Path(folder) / INDEX
    if not index.exists():
        raise JobError(f"{folder}: expected {INDEX}, found none. Correct the model's `files`, or its `source`.")
    pipeline = files.read_json(index)["_class_name"]
    found = next((name for name in among if pipeline == ARCHITECTURES[name].pipeline), None)
    if not found:
        known = [f"{one.pipeline} ({one.title})" for one in map(ARCHITECTURES.get, among)]
        raise JobError(f"{index}: expected a pipeline of {'; '.join(known)}, found {pipeline}. Use another model.")
    return found


def architecture_in(folder: Path, text_layers: Sequence[int] | None = None, among: Collection[str] = ARCHITECTURES):
    """Return the model in a folder as an instance of its architecture's class (base.Diffusion); errors as `named`."""
    return resolve_name(ARCHITECTURES[architecture_name(folder, among)].implementation)(folder, text_layers)


def count_parameters(folder: Path) -> int:
    """Count the parameters of the network that is fine-tuned from its files' headers."""
    weights = Path(folder, ARCHITECTURES[architecture_name(folder)].component).glob("*.safetensors")
    return sum(prod(shape) for path in weights for shape in safe_checkpoints.shapes(path).values())


def of_model(config: Mapping, model: str) -> str | None:
    """Return the name of the architecture of a config's model; None if it is unknown before the download.

    Raises JobError with the known ones if it is none of them, or not the config's.
    """
    entry = config["models"][model]
    source = sources.of(entry["source"], local_root=config["local_root"])
    folders = [Path(config["pathvars"]["resources"], "models", model)]
    folders += [source.place] if source.own else []
    seen = next((architecture_name(folder) for folder in folders if (folder / INDEX).exists()), None)
    if stated := entry.get("architecture"):
        one_of(f"config: models.{model}", "architecture", stated, ARCHITECTURES)
        expect(
            seen in (None, stated),
            f"config: models.{model}.architecture: expected {seen}, which its {INDEX} is, found {stated}",
        )
    return stated or seen


def add_targets(config: dict) -> None:
    """Add to the models of a config, in place, the named lists of targets of their architectures.

    `paper`, which the variants of methods.yaml name, is `attention` unless the model lists it.
    """
    for entry in config["models"].values() if isinstance(config.get("models"), dict) else ():
        known = ARCHITECTURES.get(str(entry.get("architecture"))) if isinstance(entry, dict) else None
        own = entry.get("targets", {}) if known else None
        if isinstance(own, dict):  # the schema, which is checked later, reports other values
            entry["targets"] = copy.deepcopy(known.targets | {"paper": known.targets["attention"]}) | own
