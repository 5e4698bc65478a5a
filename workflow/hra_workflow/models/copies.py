"""Asynchronous copies of tensors to a GPU."""

import torch


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Copy a tensor to a device; to a GPU, from pinned memory, since other copies wait for the GPU's whole queue."""
    on_gpu = torch.device(device).type == "cuda" and not tensor.is_cuda
    return (tensor.pin_memory() if on_gpu else tensor).to(device, non_blocking=on_gpu)
