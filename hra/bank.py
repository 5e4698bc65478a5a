"""The factors of all layers of a model, computed together at the start of its forward pass in training.

T of one layer takes a dozen operations on matrices so small that starting them is their whole cost. Layers of equal
(n, r, dtype, device, λ = ∞) are therefore stacked, their factors (L, n, r) are computed once per forward pass, and each
layer takes its slices. The backward pass collects the gradients of the slices and propagates them to all u at once;
only T (for λ = ∞, the basis's coefficients) is kept for it. A layer computes its own factors where it is called outside
of its model's forward pass (also when a checkpointed block is run again), has several active adapters or is sharded.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.hra.layer import HRALayer
from torch import nn

from .reflections import basis, cast, cast_gradient, chain, chain_gradient, compact, span, span_gradient, wide

Factors = tuple[torch.Tensor, torch.Tensor]  # V and B of D = I - B Vᵀ, both (n, r)
Group = tuple[Any, ...]  # what stacked layers share: n, r, dtype, device, λ = ∞


class _Stacked(torch.autograd.Function):
    """Compute V and B of each u (n, r), cast to `dtype`: V_1, ..., V_L, B_1, ..., B_L."""

    @staticmethod
    def forward(ctx: Any, apply_GS: bool, dtype: torch.dtype, *us: torch.Tensor) -> tuple[torch.Tensor, ...]:
        V = wide(torch.stack(us))
        small: list[torch.Tensor]
        if apply_GS:
            C, dependent = basis(V)
            V, B, N = span(V, C, dependent)
            small = [C, N]
        else:
            B, *small = chain(V)
        V, B = cast(V, B, dtype)
        # Not saved by autograd, which would free them after the first of two separate parts of a forward pass.
        ctx.how, ctx.us, ctx.versions, ctx.small = (apply_GS, dtype), us, [u._version for u in us], small
        ctx.set_materialize_grads(False)
        return *V.unbind(), *B.unbind()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        (apply_GS, dtype), L = ctx.how, len(ctx.us)
        used = [i for i in range(L) if gradients[i] is not None or gradients[L + i] is not None]
        us = [ctx.us[i] for i in used]
        if any(ctx.us[i]._version != ctx.versions[i] for i in used):
            raise RuntimeError(
                "HRA: expected the `hra_u` of the forward pass in the backward pass, but one was modified in place."
            )
        small = ctx.small if len(used) == L else [one[used] for one in ctx.small]
        nothing = torch.zeros_like(us[0], dtype=dtype)
        gV, gB = (
            torch.stack([nothing if (one := g[i]) is None else one for i in used])
            for g in (gradients[:L], gradients[L:])
        )
        if torch.is_grad_enabled():  # a gradient of this gradient may be computed
            V, B = compact(torch.stack(us), apply_GS)
            each = torch.autograd.grad(cast(V, B, dtype), us, (gV, gB), create_graph=True)
        else:
            U = wide(torch.stack(us))
            gV, gB = cast_gradient(U, gV, gB, unit=apply_GS)
            if apply_GS:
                C, N = small
                gU = span_gradient(U, C, N, gV, gB)
            else:
                (T,) = small
                gU = gV + chain_gradient(U, T, gB)
            each = gU.to(us[0].dtype).unbind()
        gradient = dict(zip(used, each, strict=True))
        return None, None, *(gradient.get(i) for i in range(L))


class Bank:
    """The layers whose factors one forward pass of a model computes together."""

    def __init__(self, model: nn.Module) -> None:
        self._places: dict[nn.Module, tuple[Group, int]] = {}
        self._groups: dict[Group, list[nn.Parameter]] = defaultdict(list)
        self._factors: dict[tuple[Group, torch.dtype], tuple[list[int], list[Factors]]] = {}
        for layer in model.modules():
            trained_alone = getattr(layer, "trained_alone", None)  # PEFT's own layers have none
            if isinstance(layer, HRALayer) and trained_alone and (name := trained_alone()):
                u = layer.hra_u[name]
                group = *u.shape, u.dtype, u.device, layer.hra_apply_GS[name]
                self._places[layer] = group, len(self._groups[group])
                self._groups[group].append(u)

    def get(self, layer: nn.Module, u: nn.Parameter, dtype: torch.dtype) -> Factors | None:
        """Return V and B of one layer in `dtype`; None if it has to compute them."""
        group, index = self._places.get(layer, ((), 0))
        us = self._groups.get(group, ())
        if len(us) < 2 or us[index] is not u:
            return None
        if (group, dtype) not in self._factors:
            versions = [u._version for u in us]
            with torch.enable_grad(), torch.autocast(u.device.type, enabled=False):
                flat = _Stacked.apply(group[-1], dtype, *us)
            self._factors[group, dtype] = versions, list(zip(flat[: len(us)], flat[len(us) :], strict=True))
        versions, factors = self._factors[group, dtype]
        return factors[index] if versions[index] == u._version else None


class _Passes(threading.local):
    def __init__(self) -> None:
        self.running: list[tuple[nn.Module, Bank | None]] = []


_passes = _Passes()


def current() -> Bank | None:
    """Return the bank of the forward pass that this thread is in, unless it is within a backward pass or transform."""
    if not _passes.running or torch._C._current_graph_task_id() != -1 or torch._C._are_functorch_transforms_active():
        return None
    return _passes.running[-1][1]


def attach(model: nn.Module) -> None:
    """Have the model's forward passes with gradients use a bank."""
    if _begin not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_begin)
        model.register_forward_hook(_end, always_call=True)


def detach(model: nn.Module) -> None:
    """Undo `attach`."""
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key in [key for key, hook in hooks.items() if hook in (_begin, _end)]:
            hooks.pop(key)
            model._forward_hooks_always_called.pop(key, None)


def _begin(model: nn.Module, inputs: Any) -> None:
    if not torch.compiler.is_compiling():
        bank = current()
        if bank is None and torch.is_grad_enabled():
            bank = Bank(model)
        _passes.running.append((model, bank))


def _end(model: nn.Module, inputs: Any, output: Any) -> None:
    if not torch.compiler.is_compiling() and _passes.running and _passes.running[-1][0] is model:
        _passes.running.pop()


@contextmanager
def unseen_by_checkpoints() -> Iterator[None]:
    """Hide saved tensors from checkpointing, which counts them: only the first run of a block uses the bank."""
    if torch._C._are_functorch_transforms_active():  # these forbid hooks, and checkpointing with them
        yield
        return
    with torch.autograd.graph.saved_tensors_hooks(_same, _same):
        yield


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
