"""Asynchronous copies of tensors to a GPU."""

import torch


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Copy a tensor from pinned memory, in the GPU's queue: a copy from other memory would wait for the whole queue."""
    on_gpu = torch.device(device).type == "cuda" and not tensor.is_cuda
    return (tensor.pin_memory() if on_gpu else tensor).to(device, non_blocking=on_gpu)
