"""HRA adapters for others to use: as LoRA, exactly; and from the official repository's checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import HRAConfig, LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn

from .reflections import compact

PREFIX = "base_model.model."  # of the keys in PEFT's adapter files
State = dict[str, torch.Tensor]


def to_lora(
    model: nn.Module, directory: str | Path | None = None, adapter_name: str = "default"
) -> tuple[LoraConfig, State]:
    """Export an HRA adapter as a LoRA adapter that gives the same outputs, to rounding.

    W H = W - (W B) Vᵀ (section 3.1, Eq. 3, in compact form), so LoRA's two factors are Vᵀ (r, n) and -W B (out, r),
    with rank = alpha = r; of a convolution (r, C, kh, kw) and (out, r, 1, 1). They belong to the W they were made from.

    model: what `get_peft_model` gave, or a model with injected layers (diffusers). Returns LoRA's config and weights,
    float32 or wider, biases and `modules_to_save` among them. With a directory they are written there: for
    `PeftModel.from_pretrained`, or, from an injected model, for diffusers' `load_lora_adapter(directory, prefix=None)`.

    Raises KeyError for an unknown adapter; ValueError if it is no HRA adapter, is merged, or adapts a convolution that
    PEFT's LoRA gets wrong (it ignores dilation and padding mode).
    """
    configs = getattr(model, "peft_config", {})
    if adapter_name not in configs:
        raise KeyError(f"to_lora: expected one of the adapters {sorted(configs)}, got {adapter_name!r}")
    config = configs[adapter_name]
    if not isinstance(config, HRAConfig):
        raise ValueError(f"to_lora: expected an HRA adapter, got {config.peft_type.value}")
    state: State = {}
    for key, tensor in get_peft_model_state_dict(model, adapter_name=adapter_name).items():
        path, _, name = key.rpartition(".")
        if name == "hra_u":
            A, B = _lora_factors(path, model.get_submodule(path), adapter_name)
            state |= {f"{path}.lora_A.weight": A, f"{path}.lora_B.weight": B}
        else:
            state[key] = tensor.detach()
    kept = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save")
    kept += ("task_type", "base_model_name_or_path", "revision", "auto_mapping")
    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.r,
        bias=config.bias.replace("hra_only", "lora_only"),
        inference_mode=True,
        **{name: getattr(config, name) for name in kept},
    )
    if directory is not None:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        if isinstance(model, PeftModel):
            _save(directory, lora, state)
        else:
            save_file(state, directory / "pytorch_lora_weights.safetensors", metadata={"format": "pt"})
    return lora, state


@torch.no_grad()
def _lora_factors(path: str, layer: nn.Module, adapter_name: str) -> tuple[torch.Tensor, torch.Tensor]:
    if layer.merged:
        raise ValueError("to_lora: expected an unmerged adapter; call `unmerge_adapter()` before")
    V, B = compact(layer.hra_u[adapter_name], layer.hra_apply_GS[adapter_name])
    base = layer.get_base_layer()
    if isinstance(base, nn.Conv2d):
        if base.padding_mode != "zeros" or set(base.dilation) != {1}:
            raise ValueError(
                f"to_lora: {path} has dilation {base.dilation} and padding mode {base.padding_mode!r}; PEFT's LoRA "
                "ignores both, so the export would be wrong. Leave that layer out, or merge the adapter instead."
            )
        WB = base.weight.flatten(1).to(B.dtype) @ B
        return V.mT.reshape(-1, *base.weight.shape[1:]).contiguous(), -WB[:, :, None, None].contiguous()
    weight = getattr(base, "weight", None)
    if weight is not None and weight.is_floating_point() and weight.shape[-1] == len(V):
        WB = weight.to(B.dtype) @ B
    else:  # quantised: a linear layer shows its weight by what it does
        WB = (base(B.mT) - base(torch.zeros_like(B.mT))).mT.to(B.dtype)
    return V.mT.contiguous(), -WB.contiguous()


def _save(directory: Path, config: HRAConfig | LoraConfig, state: State) -> None:
    config.save_pretrained(str(directory))
    save_file(
        {key: tensor.contiguous() for key, tensor in state.items()},
        directory / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )


def from_official(
    checkpoint: str | Path | Mapping[str, torch.Tensor],
    directory: str | Path | None = None,
    apply_GS: bool = False,
    diffusers_names: bool = True,
) -> tuple[HRAConfig, State]:
    """Read a checkpoint of the official repository (DaShenZi721/HRA since 2024-06-28) as a PEFT HRA adapter.

    Its control, subject and nlu parts keep `hra_u` (n, r) on the input side, as PEFT does; only the names differ. What
    else such a file holds (the base model, the hint encoder, the classifier at its random start) is left out.

    checkpoint: a file (.ckpt, .pt, .bin, .safetensors) or its state dict. `apply_GS` is not in the file: say so if it
    was trained with it. `diffusers_names` gives the control part's layers the names of diffusers' UNet2DConditionModel.
    Returns config and weights, `base_model.model.<layer>.hra_u`, float32; with a directory they are written there.

    Raises ValueError for the llama part, whose `oft_r` (out, r) rotates the output side with u / sqrt(‖u‖² + 1e-4),
    which is not orthogonal: no input-side adapter equals it; and for a file without `hra_u`, or with several r.
    """
    if not isinstance(checkpoint, Mapping):
        checkpoint = _read(Path(checkpoint))
    us = {key: tensor for key, tensor in checkpoint.items() if key.rpartition(".")[2] == "hra_u"}
    if not us:
        if any("oft_r" in key for key in checkpoint):
            raise ValueError(
                "from_official: this is an adapter of the llama part (`oft_r`). It rotates the output side, W -> HᵀW, "
                "with u / sqrt(‖u‖² + 1e-4), which is not orthogonal; HRA, in the paper and in PEFT, is W -> W H. So "
                "there is no exact conversion. Merge it with the official code, or train again."
            )
        raise ValueError(
            "from_official: expected keys that end in `hra_u`, as the official code saves since 2024-06-28, got "
            f"{len(checkpoint)} others such as {list(checkpoint)[:3]}"
        )
    state = {f"{PREFIX}{_layer_name(key, diffusers_names)}.hra_u": u.detach().float() for key, u in us.items()}
    ranks = {u.shape[1] for u in us.values()}
    if len(ranks) > 1:
        raise ValueError(f"from_official: expected one r for all layers, got {sorted(ranks)}; PEFT has one per adapter")
    targets = sorted(key.removeprefix(PREFIX).removesuffix(".hra_u") for key in state)
    config = HRAConfig(r=ranks.pop(), apply_GS=apply_GS, target_modules=targets, inference_mode=True)
    if directory is not None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        _save(Path(directory), config, state)
    return config, state


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"from_official: no file {path}")
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state.get("state_dict", state)


def _layer_name(key: str, diffusers_names: bool) -> str:
    """The layer that a key of the official code belongs to."""
    name = key.removesuffix(".hra_u")
    # subject: ….attn1.processor.to_q_hra, where the layer is ….attn1.to_q
    name = re.sub(r"\.processor\.(to_[qkv])_hra$", r".\1", name)
    name = re.sub(r"\.processor\.to_out_hra$", ".to_out.0", name)
    if not diffusers_names:
        return name
    # control: model.diffusion_model.input_blocks.4.1.…, three blocks a resolution after the input layer
    name = name.removeprefix("model.diffusion_model.")
    name = re.sub(
        r"^input_blocks\.(\d+)\.1\.",
        lambda m: f"down_blocks.{(int(m[1]) - 1) // 3}.attentions.{(int(m[1]) - 1) % 3}.",
        name,
    )
    name = re.sub(r"^middle_block\.1\.", "mid_block.attentions.0.", name)
    return re.sub(
        r"^output_blocks\.(\d+)\.1\.",
        lambda m: f"up_blocks.{int(m[1]) // 3}.attentions.{int(m[1]) % 3}.",
        name,
    )
