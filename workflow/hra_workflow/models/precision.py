"""The torch dtypes of the config's names of floating-point formats."""

NAMES = {"float32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def dtype(precision: str):
    """Return the torch.dtype of a precision."""
    import torch

    return getattr(torch, NAMES[precision])
