"""Exact export of HRA adapters as LoRA adapters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import HRAConfig, LoraConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import onload_layer
from safetensors.torch import save_file
from torch import nn

from . import checks
from .bank import Factors
from .merging import ROWS, not_a_parameter
from .paths import share
from .quantized import dense_weight, is_partitioned
from .reflections import compact, exact

PREFIX = "base_model.model."  # begins the keys of PEFT's adapter files
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
HEADS = {"classifier", "score", "qa_outputs"}  # PEFT lists these for a task type, whatever the model's head is called
MAMBA = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}  # PEFT loads no LoRA on their `out_proj`
State = dict[str, torch.Tensor]


def to_lora(
    model: nn.Module,
    directory: str | Path | None = None,
    adapter_name: str = "default",
    beside: Mapping[str, torch.Tensor] | None = None,
    component: str | None = None,
) -> tuple[LoraConfig, State]:
    """Export an HRA adapter as a LoRA adapter with the same outputs.

    They are the same up to rounding. W H = W - (W B) Vᵀ (section 3.1, Eq. 3, in compact form), so LoRA's two factors
    are Vᵀ (r, n) and -W B (out, r) with rank = alpha = r; for a convolution they are (r, C, kh, kw) and (out, r, 1, 1).
    They are valid only for the W that they were computed from. A quantised base weight is dequantised first. If its
    kernels also round activations, H x and x are rounded differently.

    model: the return value of `get_peft_model`, or a model with injected layers (diffusers). `beside`: tensors of the
    adapter file, by key, for the `modules_to_save` that this model has no module for. `component`: the model's name in
    its diffusers pipeline; None: `unet`, `transformer` or `text_encoder`, as its class suggests. Returns LoRA's config
    and weights, float32 or wider, including biases and `modules_to_save`.

    If there is a directory, also writes them to it for `PeftModel.from_pretrained` and, if the model belongs to a
    pipeline, for `pipe.load_lora_weights(directory)` (for the model without its pipeline:
    `load_lora_adapter(directory, prefix=component, use_safetensors=True)`). diffusers can load neither biases nor
    `modules_to_save`: an adapter that has some is written for `PeftModel` only.

    Raises KeyError for an unknown adapter. Raises TypeError if it is above another adapter, or if hooks or
    parametrizations compute a base weight. Raises ValueError if it is not an HRA adapter, is merged or sharded, or has
    NaN or infinity. Raises ValueError also for `modules_to_save` that are neither in the model nor in `beside`, and for
    a base weight that cannot be read exactly (`quantized.dense_weight`). PEFT's LoRA cannot replace some layers, which
    are a ValueError, too: a convolution with groups, a dilation or another padding mode than zeros, and `out_proj` of a
    Mamba model.
    """
    configs = getattr(model, "peft_config", {})
    if adapter_name not in configs:
        raise KeyError(f"to_lora: expected one of the adapters {sorted(configs)}, found {adapter_name!r}")
    config = configs[adapter_name]
    if not isinstance(config, HRAConfig):
        raise ValueError(f"to_lora: expected an HRA adapter, found {config.peft_type.value}")
    checks.check_layers(model.named_modules())
    state: State = dict(beside or {})
    _check_saved_modules(model, config, state)
    for key, tensor in get_peft_model_state_dict(model, adapter_name=adapter_name).items():
        path, _, name = key.rpartition(".")
        if name == "hra_u":
            _check_loadable(model, path)
            with onload_layer(layer := model.get_submodule(path)):
                A, B = factors_of(path.removeprefix(PREFIX), layer, adapter_name)
            state |= {f"{path}.lora_A.weight": A, f"{path}.lora_B.weight": B}
        else:
            state[key] = tensor.detach()
    kept = ["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"]
    kept += ["task_type", "base_model_name_or_path", "revision", "auto_mapping"]
    options = {name: getattr(config, name) for name in kept}
    options["bias"] = config.bias.replace("hra_only", "lora_only")
    lora = LoraConfig(r=config.r, lora_alpha=config.r, inference_mode=True, **options)
    if directory is not None:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        plain = {key.removeprefix(PREFIX): tensor for key, tensor in state.items()}
        save(directory, lora, {PREFIX + key: tensor for key, tensor in plain.items()})
        component = component or pipeline_component(model)
        (directory / DIFFUSERS_FILE).unlink(missing_ok=True)
        if component and all(".lora_" in key for key in plain):
            weights = {f"{component}.{key}": tensor for key, tensor in plain.items()}
            save_file(weights, directory / DIFFUSERS_FILE, metadata={"format": "pt"})
            share(directory / DIFFUSERS_FILE)
    return lora, state


def pipeline_component(model: nn.Module) -> str | None:
    """Return the name that a model usually has in a diffusers pipeline; None: it is in no pipeline."""
    if isinstance(model, PeftModel):
        model = model.get_base_model()
    if type(model).__module__.partition(".")[0] == "diffusers":
        return "unet" if "unet" in type(model).__name__.lower() else "transformer"
    return "text_encoder" if type(model).__name__.startswith("CLIPTextModel") else None


def _check_saved_modules(model: nn.Module, config: HRAConfig, beside: State) -> None:
    names = [name for name, _ in model.named_modules()] + list(beside)
    for wanted in config.modules_to_save or ():
        if config.task_type and wanted in HEADS:
            continue
        if not any(f".{wanted}." in f".{name}." for name in names):
            raise ValueError(
                f"to_lora: expected the module {wanted}, which the adapter lists in `modules_to_save`, found none in "
                f"{type(model).__name__}: its trained weights would be lost. Add that module to the base model before "
                "loading the adapter, or pass its tensors as `beside`."
            )


def _check_loadable(model: nn.Module, path: str) -> None:
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind in MAMBA and path.endswith(".out_proj"):
        raise ValueError(
            f"to_lora: {path.removeprefix(PREFIX)}: PEFT loads no LoRA on `out_proj` of a model of type {kind}, whose "
            "kernels read the weight themselves. Merge the adapter instead (`merge_and_unload`)."
        )


def save(directory: Path, config: HRAConfig | LoraConfig, state: State) -> None:
    """Write adapter_config.json and adapter_model.safetensors of an adapter in PEFT's format.

    directory: a folder, created if it is missing; files of these names are replaced. state: tensors by PEFT's keys
    (`base_model.model.<layer>.hra_u`: (n, r)), written in their dtypes. Raises OSError if the folder
    cannot be written.
    """
    config.save_pretrained(str(directory))
    save_file(
        {key: tensor.contiguous() for key, tensor in state.items()},
        path := directory / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    share(path)


@torch.no_grad()
def factors_of(name: str, layer: Any, adapter_name: str) -> Factors:
    """Compute lora_A and lora_B of the LoRA that is equal to a layer's adapter; `to_lora` has their shapes.

    name: the layer's path in the base model, for the errors, which are those of `to_lora`.
    """
    if layer.merged:
        raise ValueError("to_lora: expected an unmerged adapter; call `unmerge_adapter()` first")
    if (reason := not_a_parameter(layer)) is not None:
        raise TypeError(f"to_lora: {name}: {reason}.")
    base = layer.get_base_layer()
    tensors = layer.hra_u[adapter_name], getattr(base, "weight", None)
    if any(hasattr(tensor, "placements") or is_partitioned(tensor) for tensor in tensors):
        raise ValueError(
            f"to_lora: {name}: expected all of its tensors in this process, found parts of them (tensor parallelism, "
            "FSDP2, ZeRO-3). Save the adapter, and export it in one process (`hra to-lora`)."
        )
    V, B = compact(layer.hra_u[adapter_name], layer.hra_apply_GS[adapter_name])
    if isinstance(base, nn.Conv2d):
        _check_convolution(name, base)
        A, B = _of_matrix(base.weight.flatten(1), V, B)
        A, B = A.view(-1, *base.weight.shape[1:]), B[:, :, None, None]
    else:
        A, B = _of_matrix(dense_weight(base, len(V), name), V, B)
    if not (A.isfinite().all() and B.isfinite().all()):
        raise ValueError(
            f"to_lora: {name}: expected finite numbers, found NaN or infinity in the adapter or in the base weight. "
            "Export an adapter from before its training diverged."
        )
    return A, B


def _of_matrix(weight: torch.Tensor, V: torch.Tensor, B: torch.Tensor) -> Factors:
    """Compute A = Vᵀ (r, n) and -W B (out, r), in float64 by blocks of rows, rounded once."""
    wide = exact(B)
    WB = torch.cat([exact(rows) @ wide for rows in weight.split(ROWS)])
    return V.mT.contiguous(), -WB.to(V.dtype)


def _check_convolution(name: str, base: nn.Conv2d) -> None:
    if base.padding_mode != "zeros" or set(base.dilation) != {1}:
        raise ValueError(
            f"to_lora: {name} has dilation {base.dilation} and padding mode {base.padding_mode!r}; PEFT's LoRA "
            "ignores both, so the export would be wrong. Exclude that layer, or merge the adapter instead."
        )
    if base.groups > 1:
        raise ValueError(
            f"to_lora: {name} has {base.groups} groups; an equivalent LoRA would have rank {base.groups} r, and "
            "PEFT cannot merge it. Exclude that layer, or merge the adapter instead."
        )
