"""The steps of a run, the head's learning rate, and the penalty that a method adds to the loss."""

import math
from pkgutil import resolve_name

import torch

import hra
from hra_workflow import methods
from hra_workflow.models import built_adapters


def total_steps(rows: int, settings: dict) -> int:
    """Return the total number of optimiser steps."""
    if "max_steps" in settings:
        return settings["max_steps"]
    batches = -(-rows // (settings["batch_size"] // settings["gradient_accumulation"]))
    return math.ceil(settings["epochs"] * -(-batches // settings["gradient_accumulation"]))  # as transformers rounds


def set_head_rate(optimizer: torch.optim.Optimizer, model, head: list[str], rate: float) -> None:
    """Give the parameters of the head, in a new optimiser, a separate learning rate."""
    of_head = {id(parameter) for name, parameter in model.named_parameters() if built_adapters.is_within(name, head)}
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in of_head]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in of_head]
        if moved:
            optimizer.add_param_group(group | {"params": moved, "lr": rate})
    optimizer.param_groups = [group for group in optimizer.param_groups if group["params"]]


def penalty(model, method: dict) -> torch.Tensor | None:
    """Return the penalty of a method, weighted; None if it has none."""
    name = methods.entry(method).penalty
    return resolve_name(name)(model, method) if name else None


def orthogonality(model, method: dict) -> torch.Tensor | None:
    """Return λ ‖I − UᵀU‖²_F over all layers (paper, Eq. 6), or λ times the norm as in the official code."""
    if not method["lambda"]:
        return None
    return method["lambda"] * hra.orthogonality_penalty(model, squared=method["penalty"] == "squared")
