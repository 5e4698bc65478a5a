"""Checkpoints of the official repository (DaShenZi721/HRA) as PEFT adapters."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from peft import HRAConfig
from safetensors.torch import load_file

from .export import PREFIX, State, save

ATTENTION = re.compile(r"(?:model\.diffusion_model\.)?((?:(?:in|out)put_blocks\.\d+|middle_block)\.1)\.(.+)")
BLOCK = re.compile(r"(?:model\.diffusion_model\.)?(input_blocks|middle_block|output_blocks)\.(\d+)\.(.+)")
# Lightning's bookkeeping, a class as the key of a dict, of which nothing is used.
BOOKKEEPING = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
# Blocks of Stable Diffusion 1 and 2 by resolution, in LDM's count, and those of them with attention.
SD_DOWN = [[1, 2], [4, 5], [7, 8], [10, 11]]
SD_UP = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
SD_ATTENTION = {1, 2, 4, 5, 7, 8}, {3, 4, 5, 6, 7, 8, 9, 10, 11}


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
    was trained with it. `diffusers_names` gives the control part's layers the names of diffusers' UNet2DConditionModel;
    how many blocks a resolution has is read from the file's other keys. Without them, from `hra_u` alone, the file must
    have Stable Diffusion's layout. Returns config and weights, `base_model.model.<layer>.hra_u`, float32; with a
    directory they are written there.

    Raises ValueError for the llama part, whose `oft_r` (out, r) rotates the output side with u / sqrt(‖u‖² + 1e-4),
    which is not orthogonal: no input-side adapter equals it; for a file without `hra_u`, or with several r; for a UNet
    that diffusers' has no names for; for a file that is no checkpoint of tensors.
    """
    if not isinstance(checkpoint, Mapping):
        checkpoint = _read(Path(checkpoint))
    us = {key.removesuffix(".hra_u"): u for key, u in checkpoint.items() if key.endswith(".hra_u")}
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
    for name, u in us.items():
        if u.dim() != 2:
            raise ValueError(f"from_official: expected {name}.hra_u of shape (n, r), got {tuple(u.shape)}")
    ranks = {u.shape[1] for u in us.values()}
    if len(ranks) > 1:
        raise ValueError(f"from_official: expected one r for all layers, got {sorted(ranks)}; PEFT has one per adapter")
    layers = {name: _behind_processor(name) for name in us}
    if diffusers_names:
        layers |= _diffusers_names(checkpoint, us)
    state = {f"{PREFIX}{layers[name]}.hra_u": u.detach().float() for name, u in us.items()}
    config = HRAConfig(r=ranks.pop(), apply_GS=apply_GS, target_modules=sorted(layers.values()), inference_mode=True)
    if directory is not None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        save(Path(directory), config, state)
    return config, state


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"from_official: no file {path}")
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        with torch.serialization.safe_globals([(type("Bookkeeping", (), {}), BOOKKEEPING)]):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:  # whose message advises to run what the file holds
        raise ValueError(
            f"from_official: expected a checkpoint of tensors, found other objects in {path}, which could run code; "
            "they were not loaded. Save its state dict alone, or as .safetensors."
        ) from None
    return state.get("state_dict", state)


def _behind_processor(name: str) -> str:
    """The layer of a name: the subject part says ….attn1.processor.to_q_hra for ….attn1.to_q, the nlu part its name."""
    name = re.sub(r"\.processor\.(to_[qkv])_hra$", r".\1", name)
    return re.sub(r"\.processor\.to_out_hra$", ".to_out.0", name)


def _diffusers_names(keys: Iterable[str], adapted: Iterable[str]) -> dict[str, str]:
    """diffusers' name of each adapted layer of the control part, LDM's UNet; of no other layers."""
    found = [name for name in adapted if BLOCK.fullmatch(name)]
    places = _places(keys) if found else {}
    names = {}
    for name in found:
        match = ATTENTION.fullmatch(name)
        if match is None or match[1] not in places:
            raise _misfit(f"{name}, which is in no attention of it")
        names[name] = f"{places[match[1]]}.{match[2]}"
    return names


def _places(keys: Iterable[str]) -> dict[str, str]:
    """What diffusers calls the attentions in LDM's blocks: input_blocks.4.1 is down_blocks.1.attentions.0.

    A resolution of the encoder ends with a block that has `op`, one of the decoder with one that has `conv`.
    """
    encoder, decoder = {}, {}
    for key in keys:
        if (match := BLOCK.fullmatch(key)) and match[1] != "middle_block":
            blocks = encoder if match[1] == "input_blocks" else decoder
            blocks.setdefault(int(match[2]), set()).add(".".join(match[3].split(".")[:2]))
    attends = [
        {index for index, parts in side.items() if "1.transformer_blocks" in parts} for side in (encoder, decoder)
    ]
    if encoder and decoder and all(set(side) == set(range(len(side))) for side in (encoder, decoder)):
        down, up = [[]], [[]]
        for index in range(1, len(encoder)):  # block 0 is the first convolution
            if "0.op" in encoder[index]:
                down.append([])
            else:
                down[-1].append(index)
        for index in range(len(decoder)):
            up[-1].append(index)
            if decoder[index] & {"1.conv", "2.conv"}:
                up.append([])
    elif attends == list(SD_ATTENTION):
        down, up = SD_DOWN, SD_UP
    else:
        raise _misfit(f"only the blocks {sorted(encoder)} of its encoder and {sorted(decoder)} of its decoder")
    sizes = [[len(level) for level in side] for side in (down, up)]
    if [size + 1 for size in reversed(sizes[0])] != sizes[1]:
        raise _misfit(f"{sizes[0]} blocks a resolution in its encoder and {sizes[1]} in its decoder")
    places = {"middle_block.1": "mid_block.attentions.0"}
    for side, kind, levels, those in zip(
        ("input_blocks", "output_blocks"), ("down", "up"), (down, up), attends, strict=True
    ):
        for number, level in enumerate(levels):
            if 0 < len(those & set(level)) < len(level):
                raise _misfit(f"attention in {sorted(those & set(level))} of the {side} {level}")
            places |= {f"{side}.{index}.1": f"{kind}_blocks.{number}.attentions.{j}" for j, index in enumerate(level)}
    return places


def _misfit(found: str) -> ValueError:
    return ValueError(
        "from_official: expected a whole UNet, of resolutions that each have attention after every block or none and "
        f"one block more in the decoder, as diffusers' UNet2DConditionModel has them; found {found}. Give the whole "
        "checkpoint, or take the file's own names with `diffusers_names=False`."
    )
