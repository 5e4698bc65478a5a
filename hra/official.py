"""Conversion of the official repository's checkpoints (DaShenZi721/HRA) to PEFT adapters."""

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from peft import HRAConfig
from safetensors import SafetensorError
from safetensors.torch import load_file

from .export import PREFIX, State, save

BLOCK = re.compile(r"(?:model\.diffusion_model\.)?(in|out)put_blocks\.(\d+)\.(.+)")
MIDDLE = re.compile(r"(?:model\.diffusion_model\.)?middle_block\.(.+)")
# Lightning's bookkeeping uses a class as a dict key; none of it is needed here.
LIGHTNING = (type("Bookkeeping", (), {}), "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
SD_ATTENTION = {("in", i) for i in (1, 2, 4, 5, 7, 8)} | {("out", i) for i in range(3, 12)}  # Stable Diffusion 1 and 2


def from_official(
    checkpoint: str | Path | Mapping[str, torch.Tensor],
    directory: str | Path | None = None,
    apply_GS: bool = False,
    diffusers_names: bool = True,
) -> tuple[HRAConfig, State]:
    """Convert a checkpoint of the official repository (DaShenZi721/HRA since 2024-06-28) to a PEFT HRA adapter.

    Its control, subject and nlu parts store `hra_u` (n, r) for the input side, like PEFT; only the names differ. All
    other contents (base model, hint encoder, the frozen randomly initialised classifier) are ignored.

    checkpoint: a file (.ckpt, .pt, .bin, .safetensors) or its state dict. apply_GS: whether the model was trained with
    it (λ = ∞), which the file does not record. diffusers_names: rename the control part's layers to those of diffusers'
    UNet2DConditionModel; the number of blocks per resolution is inferred from the file's other keys. If it has none, it
    must have Stable Diffusion's layout. Returns config and weights (`base_model.model.<layer>.hra_u`, (n, r), float32).
    If there is a directory, also writes them to it.

    Raises FileNotFoundError if the file does not exist. Raises ValueError for the llama part, whose `oft_r` (out, r)
    multiplies the output side with u / sqrt(‖u‖² + 1e-4), which is not orthogonal, so no input-side adapter is
    equivalent; for a file without `hra_u` or with several values of r; for a UNet that diffusers has no names for; for
    a file that is not a checkpoint of tensors.
    """
    if isinstance(checkpoint, (str, Path)):
        checkpoint = _read(Path(checkpoint))
    if not (isinstance(checkpoint, Mapping) and all(isinstance(key, str) for key in checkpoint)):
        raise ValueError(
            "from_official: expected a checkpoint file or its state dict, with names as keys, found "
            f"{'other keys' if isinstance(checkpoint, Mapping) else type(checkpoint).__name__}"
        )
    us = {key.removesuffix(".hra_u"): u for key, u in checkpoint.items() if key.endswith(".hra_u")}
    if not us:
        if any("oft_r" in key for key in checkpoint):
            raise ValueError(
                "from_official: this is an adapter of the llama part (`oft_r`). It multiplies the output side, "
                "W -> HᵀW, with u / sqrt(‖u‖² + 1e-4), which is not orthogonal; HRA in the paper and in PEFT is "
                "W -> W H, so no exact conversion exists. Merge it with the official code, or retrain it with `hra`."
            )
        raise ValueError(
            "from_official: expected keys that end in `hra_u`, as saved by the official code since 2024-06-28, found "
            f"{len(checkpoint)} others such as {list(checkpoint)[:3]}"
        )
    for name, u in us.items():
        plain = isinstance(u, torch.Tensor) and u.is_floating_point() and u.dim() == 2 and u.numel()
        if not (plain and u.isfinite().all()):
            found = f"{u.dtype} of shape {tuple(u.shape)}" if isinstance(u, torch.Tensor) else type(u).__name__
            raise ValueError(
                f"from_official: expected {name}.hra_u to be (n, r) finite floating-point numbers, found {found}"
                + " with NaN or infinity" * bool(plain)
            )
    ranks = {u.shape[1] for u in us.values()}
    if len(ranks) > 1:
        raise ValueError(
            f"from_official: expected one r for all layers, found {sorted(ranks)}; PEFT has one per adapter"
        )
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
        found = "a folder" if path.is_dir() else "nothing"
        raise FileNotFoundError(
            f"from_official: expected a checkpoint file, found {found} at {path.resolve()}. Pass the path of a .ckpt, "
            ".pt, .bin or .safetensors file."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([LIGHTNING]):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:  # its own message advises executing the file's contents
        raise ValueError(
            f"from_official: expected a checkpoint of tensors, found other objects in {path}, which could execute "
            "code; they were not loaded. Save only its state dict, or save it as .safetensors."
        ) from None
    except (RuntimeError, EOFError, SafetensorError) as error:
        raise ValueError(
            f"from_official: expected a file of `torch.save` (PyTorch 1.6 or newer) or safetensors, found {path} in "
            "another format or damaged. Copy or download it again."
        ) from error
    return state.get("state_dict", state) if isinstance(state, Mapping) else state


def _behind_processor(name: str) -> str:
    """Return the layer's name: the subject part writes ….attn1.processor.to_q_hra for ….attn1.to_q."""
    name = re.sub(r"\.processor\.(to_[qkv])_hra$", r".\1", name)
    return re.sub(r"\.processor\.to_out_hra$", ".to_out.0", name)


def _diffusers_names(keys: Iterable[str], adapted: Iterable[str]) -> dict[str, str]:
    """Map the adapted layers of the control part (LDM's UNet) to diffusers' names.

    With two blocks per resolution, input_blocks.4.1 is down_blocks.1.attentions.0: block 0 is the first convolution,
    and every resolution of the encoder ends with a block that has `op`.
    """
    blocks = [(found[1], int(found[2]), found[3]) for key in keys if (found := BLOCK.fullmatch(key))]
    adapted = [name for name in adapted if BLOCK.fullmatch(name) or MIDDLE.fullmatch(name)]
    encoder, decoder = ({index for side, index, _ in blocks if side == wanted} for wanted in ("in", "out"))
    size = min((index for _, index, part in blocks if part.startswith("0.op.")), default=len(encoder))
    if {(side, index) for side, index, _ in blocks} == SD_ATTENTION:  # only vectors
        size = 3
    elif adapted and not (encoder == decoder == set(range(len(decoder))) and size and len(decoder) % size == 0):
        raise _misfit(f"the blocks {sorted(encoder)} of the encoder and {sorted(decoder)} of the decoder")
    names = {}
    for name in adapted:
        if found := BLOCK.fullmatch(name):
            level, index = divmod(int(found[2]) - (found[1] == "in"), size)
            place = f"{'down' if found[1] == 'in' else 'up'}_blocks.{level}.attentions.{index}"
            rest = found[3]
        else:
            place, rest = "mid_block.attentions.0", name.partition("middle_block.")[2]
        if not rest.startswith("1."):
            raise _misfit(f"{name}, which is not in an attention block")
        names[name] = f"{place}.{rest[2:]}"
    return names


def _misfit(found: str) -> ValueError:
    return ValueError(
        "from_official: expected a complete UNet like diffusers' UNet2DConditionModel, with as many blocks at every "
        f"resolution; found {found}. Pass the complete checkpoint, or keep the file's own names with "
        "`diffusers_names=False`."
    )
