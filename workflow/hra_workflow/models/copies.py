"""Copies of tensors to a GPU for which the host does not wait."""

import torch


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Copy a tensor behind what its GPU has queued: a copy from memory that is not pinned waits for all of it."""
    on_gpu = torch.device(device).type == "cuda" and not tensor.is_cuda
    return (tensor.pin_memory() if on_gpu else tensor).to(device, non_blocking=on_gpu)
