"""Measure how far a weight is from its start after many merges and unmerges, one pair for each weight sync of GRPO.

The adapters of all kinds change the weight by the same relative norm. HRA's are random (angles up to 180°), or the
default initialisation with 5 % of noise, as after some training.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from benchmarks.cases import DTYPES, Case, adapt, linear

SYNCS, SIZE, ROWS = 200, 512, 256
KINDS = ("hra", "peft", "lora")  # HRA's change is LoRA's
MEASURES = ("‖ΔW‖ / ‖W‖", "max |ΔW| / max |W|", "‖ΔW x‖ / ‖W x‖")


def cases(size: int = SIZE) -> list[Case]:
    """Return the measured layers, whose `size` ends with the kind of adapter, random or trained."""
    return [
        replace(linear(size, ROWS, 8, dtype), size=f"{size}x{size} {start}", device="cpu")
        for dtype in DTYPES
        for start in ("random", "trained")
    ]


def measure(case: Case, syncs: int = SYNCS) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Return every measure with its value per kind."""
    found: dict[str, tuple[float, ...]] = {}
    update = 0.0
    for kind in KINDS:
        base, x = case.base()
        layer = adapt(base, kind, case).base_model.model[0]
        weight = layer.base_layer.weight
        before = weight.detach().clone()
        _train(layer, case.size.endswith("random"))
        if kind == "lora":
            layer.lora_B["default"].weight.data.mul_(update / _update(layer, before))
        elif kind == "hra":
            update = _update(layer, before)
        for _ in range(syncs):
            layer.merge()
            layer.unmerge()
        W, change, x = before.double(), weight.detach().double() - before.double(), x.double()
        found[kind] = (
            (change.norm() / W.norm()).item(),
            (change.abs().max() / W.abs().max()).item(),
            ((x @ change.T).norm() / (x @ W.T).norm()).item(),
        )
    yield from ((name, {kind: [found[kind][i]] for kind in sorted(found)}) for i, name in enumerate(MEASURES))


@torch.no_grad()
def _train(layer: nn.Module, random: bool) -> None:
    torch.manual_seed(1)
    if hasattr(layer, "hra_u"):
        u = layer.hra_u["default"]
        u.copy_(torch.randn_like(u) if random else u + 0.05 * u.std() * torch.randn_like(u))
    else:
        layer.lora_B["default"].weight.normal_()


@torch.no_grad()
def _update(layer: nn.Module, before: torch.Tensor) -> float:
    """Return the norm of the change by merging, relative to the weight's, and restore the weight."""
    layer.merge()
    weight = layer.base_layer.weight
    change = (weight.double() - before.double()).norm() / before.double().norm()
    layer.unmerge()
    layer.base_layer.weight.copy_(before)
    return change.item()
