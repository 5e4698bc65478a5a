"""Loading of single components of a pipeline in diffusers' layout, and images as tensors."""

from pathlib import Path

from PIL.Image import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.models import pretrained
from hra_workflow.models.precision import dtype


def load(cls, folder: Path, name: str, precision: str = "float32"):
    """Load one component of a pipeline's folder, such as unet, vae or text_encoder."""
    quiet()
    try:
        with safe_checkpoints.named(Path(folder) / name):
            return pretrained.load(cls, folder, subfolder=name, dtype=dtype(precision), use_safetensors=True)
    except OSError as problem:
        reason = " ".join(str(problem).split())
        raise JobError(
            f"{folder}: expected a {name} that diffusers can load, found none ({reason}). Correct the model's `files`."
        ) from problem


def quiet() -> None:
    from diffusers.utils import logging

    logging.disable_progress_bar()


def to_tensor(image: Image):
    """Convert an RGB image to a float32 tensor (3, height, width), 0 to 255."""
    import numpy
    import torch

    return torch.from_numpy(numpy.asarray(image).copy()).permute(2, 0, 1).float()


def to_device(tensor, device):
    """Copy a tensor to a device; to a GPU, from pinned memory, since other copies wait for the GPU's whole queue."""
    import torch

    on_gpu = torch.device(device).type == "cuda" and not tensor.is_cuda
    return (tensor.pin_memory() if on_gpu else tensor).to(device, non_blocking=on_gpu)
