"""Penalties that methods add to the loss."""

from pkgutil import resolve_name

import torch

import hra
from hra_workflow import methods


def penalty(model, method: dict) -> torch.Tensor | None:
    """Return the penalty of a method, weighted; None if it has none."""
    name = methods.entry(method).penalty
    return resolve_name(name)(model, method) if name else None


def orthogonality(model, method: dict) -> torch.Tensor | None:
    """Return λ ‖I − UᵀU‖²_F over all layers (paper, Eq. 6), or λ times the norm as in the official code."""
    if not method["lambda"]:
        return None
    return method["lambda"] * hra.orthogonality_penalty(model, squared=method["penalty"] == "squared")
