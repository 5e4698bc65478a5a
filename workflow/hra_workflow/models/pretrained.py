"""Loading of models; models with random weights from folders that contain only configurations, and with none.

`hra-workflow smoke` measures speed and memory before weights are downloaded. A folder written by `configurations` is
marked by the file MARK.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import sources

MARK = "random_weights.json"
WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".tar", ".dat", ".gguf")
PIPELINE = {  # for a single-file checkpoint, which has no model_index.json
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
}


def configurations(folder: Path, source: dict) -> None:
    """Download a source without its weights: a generator of sources of kind `init`."""
    names = {name: sha256 for name, sha256 in source["files"].items() if not name.endswith(WEIGHTS)}
    if not any(Path(name).name == "config.json" for name in names):
        raise JobError("expected a config.json among the model's files, found none: download the model first.")
    sources.of(source | {"files": names}).fetch(folder)
    if (folder / "unet").exists() and not (folder / "model_index.json").exists():
        files.write_json(folder / "model_index.json", PIPELINE)
    files.write_json(folder / MARK, {"source": source})


def load(cls, folder: str | Path, **arguments):
    """Return cls.from_pretrained(folder, …), or the same model with random weights on this process's device."""
    if not (Path(folder) / MARK).exists():
        return cls.from_pretrained(folder, **arguments)
    if "quantization_config" in arguments:
        raise JobError("a 4-bit model is made from its weights: download the model, then run hra-workflow smoke again.")
    import torch

    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = from_config(cls, folder, arguments)
    if arguments.get("output_loading_info"):
        return model, {"missing_keys": [], "unexpected_keys": []}
    return model


def from_config(cls, folder: str | Path, arguments: dict):
    import torch
    from transformers import AutoConfig, PreTrainedModel
    from transformers.modeling_utils import local_torch_dtype

    place = {"subfolder": arguments["subfolder"]} if "subfolder" in arguments else {}
    dtype = arguments.get("dtype", torch.float32)
    dtype = torch.float32 if dtype == "float32" else dtype
    if hasattr(cls, "load_config"):  # diffusers
        with local_torch_dtype(dtype):  # a later conversion would need memory for both
            return cls.from_config(cls.load_config(folder, **place)).to(dtype).eval()
    if issubclass(cls, PreTrainedModel):
        config = cls.config_class.from_pretrained(folder, **place)
        return cls._from_config(config, dtype=dtype).eval()
    return cls.from_config(arguments.get("config") or AutoConfig.from_pretrained(folder), dtype=dtype).eval()


def components(folder: Path, dtype, without: Collection[str] = ()) -> dict:
    """Return a pipeline's models, `without` some, with random weights for a folder that has none, else {}."""
    if not (Path(folder) / MARK).exists():
        return {}
    from pkgutil import resolve_name

    listed = files.read_json(Path(folder) / "model_index.json")
    found = {}
    for name, value in listed.items():
        if name in without or not isinstance(value, list) or not (Path(folder) / name / "config.json").exists():
            continue
        library = "diffusers.pipelines.stable_diffusion" if value[0] == "stable_diffusion" else value[0]
        found[name] = load(resolve_name(f"{library}:{value[1]}"), folder, subfolder=name, dtype=dtype)
    return found


def without_weights(build: Callable):
    """Return the torch module that `build` creates, with one NaN, expanded to its shape, for every parameter.

    It is built on the meta device, so it needs no memory. Unlike meta tensors, the parameters are on the CPU: inserted
    adapters get the same values as with real weights, and results that are computed from a parameter are NaN. Shared
    parameters remain shared.
    """
    import torch

    with torch.device("meta"):
        model = build()
    stand_ins: dict = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            nan = torch.full((), torch.nan, dtype=parameter.dtype, device="cpu").expand(parameter.shape)
            setattr(module, name, stand_ins.setdefault(parameter, torch.nn.Parameter(nan, parameter.requires_grad)))
    return model


def has_nan(tensors: dict) -> bool:
    return any(tensor.isnan().any() for tensor in tensors.values())
