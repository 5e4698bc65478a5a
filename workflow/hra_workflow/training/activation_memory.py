"""The decision for gradient checkpointing, from the memory that a training step keeps for its backward pass.

Two forward passes of one row show how many bytes autograd saves per row and independently of rows (weights cast by
autocast); the bytes of a step are extrapolated from them. The choice changes time, memory and, if it changes the order
of operations (HRA's factors), the rounding.
"""

from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list

from hra_workflow.core import files
from hra_workflow.models import memory
from hra_workflow.models.precision import dtype

MARGIN = 1.25  # gradients of activations and temporary tensors
ADAMW = 3  # gradients and two moments, of the parameters' size
CHOICE = "gradient-checkpointing.json"  # file in the scratch folder


def saved_bytes(model, rows: int, length: int, precision: str) -> int:
    """Return the bytes that autograd saves in a forward pass of rows × length tokens, without parameters."""
    device = next(model.parameters()).device
    ids = torch.zeros((rows, length), dtype=torch.long, device=device)
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a saved output that refers to its function would be a cycle, which is never freed

    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast(device.type, dtype(precision), enabled=precision != "float32"),
    ):
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
    assert loss.requires_grad
    return sum(saved.values())


def needed_bytes(model, rows: int, length: int, precision: str) -> int:
    """Estimate the bytes that training adds to the model's: activations of rows × length tokens, gradients, moments."""
    was_training = model.training
    model.train()
    whole, half = (saved_bytes(model, 1, tokens, precision) for tokens in (length, length // 2))
    model.train(was_training)
    besides = max(0, 2 * half - whole)
    trained = sum(one.numel() * one.element_size() for one in model.parameters() if one.requires_grad)
    return int(MARGIN * (besides + rows * (whole - besides))) + ADAMW * trained


def must_recompute(model, rows: int, length: int, precision: str, scratch: Path) -> bool:
    """Return whether a micro-batch fits into memory only with gradient checkpointing; the same for all processes.

    The choice of a run's first attempt also applies to later ones, so that their results are bit-identical.
    """
    path = scratch / CHOICE
    if path.exists():
        chosen, why = files.read_json(path)["on"], "as in the last attempt"
    else:
        needed = needed_bytes(model, rows, length, precision)
        free = memory.free_bytes(next(model.parameters()).device.type)
        chosen = needed > free
        why = f"training needs about {needed / 1e9:.3g} GB without it, {free / 1e9:.3g} GB are free"
    (chosen,) = broadcast_object_list([chosen])
    choose(scratch, chosen)
    print(f"gradient checkpointing {'on' if chosen else 'off'}: {why}")
    return chosen


def choose(scratch: Path, on: bool) -> None:
    """Record the choice for the next attempt."""
    scratch.mkdir(parents=True, exist_ok=True)
    files.write_json(scratch / CHOICE, {"on": on})
