"""The factors of all layers of a model, computed together in its forward pass.

T of one layer takes a dozen operations on matrices so small that starting them is most of the cost. Layers with equal
(n, r, dtype, device, λ = ∞) are therefore stacked: their factors (L, n, r) are computed once per forward pass, and each
takes its slices. The backward pass collects the gradients of the slices and propagates them to all u at once; it only
needs T (for λ = ∞, the basis's coefficients). A layer (`chain.Chain`) computes its own factors if it is called outside
of its model's forward pass (also when a checkpointed block is run again), has several active adapters or is sharded. On
a CPU it keeps them while no gradients are needed (`cache.Cache`).
"""

import threading
import weakref
from collections import defaultdict
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.hra.layer import HRALayer
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from .reflections import (
    basis,
    cast,
    cast_gradient,
    chain_gradient,
    compact,
    middle,
    second_factor,
    span,
    span_gradient,
    wide,
)
from .torch_internals import is_transformed, unseen_by_checkpoints, version

Factors = tuple[torch.Tensor, torch.Tensor]  # V and B of D = I - B Vᵀ, both (n, r)
Stack = dict[Any, nn.Parameter]  # u of the layers with equal n, r, dtype, device, λ = ∞ and requires_grad


class _Stacked(torch.autograd.Function):
    """Compute V and B of each u (n, r), cast to `dtype`: V_1, ..., V_L, B_1, ..., B_L."""

    @staticmethod
    def forward(ctx: Any, apply_GS: bool, dtype: torch.dtype, *us: torch.Tensor) -> tuple[torch.Tensor, ...]:
        V = stack = wide(torch.stack(us))
        small: list[torch.Tensor]
        if apply_GS:
            C, dependent = basis(V)
            V, B, N = span(V, C, dependent)
            small = [C, N]
        else:
            B, small = second_factor(V, T := middle(V)), [T]
        V, B = cast(V, B, dtype)
        # Not saved by autograd, which would free them after the first of two separate parts of a forward pass.
        ctx.how, ctx.us, ctx.versions, ctx.small = (apply_GS, dtype), us, [version(u) for u in us], small
        # Where the layers keep it as V, it costs nothing, and serves after a write to `.data`, which no version counts.
        ctx.stack = stack if V is stack else None
        ctx.set_materialize_grads(False)
        return *V.unbind(), *B.unbind()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        (apply_GS, dtype), L = ctx.how, len(ctx.us)
        used = [i for i in range(L) if gradients[i] is not None or gradients[L + i] is not None]
        us = [ctx.us[i] for i in used]
        if any(version(ctx.us[i]) != ctx.versions[i] for i in used):
            raise RuntimeError(
                "HRA: expected the `hra_u` of the forward pass in the backward pass, but one was modified in place."
            )
        # Not one[used]: a list as an index is copied to the device, which synchronises.
        small = ctx.small if len(used) == L else [torch.stack([one[i] for i in used]) for one in ctx.small]
        nothing = torch.zeros_like(us[0], dtype=dtype)
        gV, gB = (  # stacked as (L, r, n), the layout in which the layers compute them
            torch.stack([(nothing if (one := g[i]) is None else one).mT for i in used]).mT
            for g in (gradients[:L], gradients[L:])
        )
        if torch.is_grad_enabled():  # a gradient of this gradient may be computed
            V, B = compact(torch.stack(us), apply_GS)
            each = torch.autograd.grad(cast(V, B, dtype), us, (gV, gB), create_graph=True)
        else:
            U = ctx.stack
            if U is None or len(used) < L:
                U = wide(torch.stack(us if U is None else [U[i] for i in used]))
            gV, gB = cast_gradient(U, gV, gB, unit=apply_GS)
            if apply_GS:
                C, N = small
                gU = span_gradient(U, C, N, gV, gB)
            else:
                (T,) = small
                gU = gV.add_(chain_gradient(U, T, gB))
            each = gU.to(us[0].dtype).contiguous().unbind()
        gradient = dict(zip(used, each, strict=True))
        return None, None, *(gradient.get(i) for i in range(L))


class Bank:
    """The layers whose factors one forward pass of a model computes together."""

    def __init__(self, model: nn.Module) -> None:
        self.trains = torch.is_grad_enabled()
        self._model = model
        self._stacks: dict[str, dict[Any, Stack]] = {}
        # By chain, dtype and name: the version of u of which these are the factors.
        self._computed: dict[tuple[Any, ...], tuple[int, Factors]] = {}

    def get(self, chain: Any, name: str, u: nn.Parameter, dtype: torch.dtype) -> Factors | None:
        """Return V and B (n, r) of an adapter in `dtype`; None: the layer computes them.

        A write to `.data` during a pass takes effect in the next one, any other in this one.
        """
        if name not in self._stacks:
            self._stacks[name] = _stacks(self._model, name)
        stack = self._stacks[name].get(chain, {})
        chain.alone = name if len(stack) == 1 else ""
        if len(stack) < 2 or stack[chain] is not u:
            return None
        if u.is_cuda and torch.cuda.is_current_stream_capturing():
            return None  # a graph of a part of this pass would read this pass's factors in every later one
        if (chain, dtype, name) not in self._computed:
            self._compute(stack, dtype, name)
        number, factors = self._computed[chain, dtype, name]
        return factors if version(u) == number else None

    def _compute(self, stack: Stack, dtype: torch.dtype, name: str) -> None:
        versions = [version(u) for u in stack.values()]
        first, u = next(iter(stack.items()))
        with (
            unseen_by_checkpoints(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(u.device.type, enabled=False),
        ):
            flat = _Stacked.apply(first.layer.hra_apply_GS[name], dtype, *stack.values())
        pairs = zip(flat[: len(stack)], flat[len(stack) :], strict=True)
        for one, number, factors in zip(stack, versions, pairs, strict=True):
            self._computed[one, dtype, name] = number, factors


def _stacks(model: nn.Module, name: str) -> dict[Any, Stack]:
    """Return the stack of each layer, by its chain."""
    if model not in _chains:
        _chains[model] = [m.chain for m in model.modules() if isinstance(m, HRALayer) and hasattr(m, "chain")]
    stacks: dict[tuple[Any, ...], Stack] = defaultdict(dict)
    for chain in _chains[model]:
        if (u := chain.stackable(name)) is not None:
            stacks[*u.shape, u.dtype, u.device, chain.layer.hra_apply_GS[name], u.requires_grad][chain] = u
    return {chain: stack for stack in stacks.values() for chain in stack}


class _Pass(dict[str, Any]):
    """The keyword arguments of a forward pass and its bank: they live as long as the call, however it ends.

    Forward hooks, even with `always_call`, are called after an `Exception`, but not after a `KeyboardInterrupt`.
    """

    bank: Bank

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class _Passes(threading.local):
    latest: weakref.ref[_Pass] | None = None


_passes = _Passes()
_chains: WeakKeyDictionary[nn.Module, list[Any]] = WeakKeyDictionary()  # those of each model, found once


def current() -> Bank | None:
    """Return the bank of the forward pass that this thread is in, unless it is in a transform."""
    running = None if _passes.latest is None else _passes.latest()
    return None if running is None or is_transformed() else running.bank


def attach(model: nn.Module) -> None:
    """Let the model's forward passes use a bank, with the layers that it has at the next pass."""
    _chains.pop(model, None)
    _end_with_steps()
    if "hra_hooks" not in model.__dict__:  # copied and pickled with the hooks
        begin = model.register_forward_pre_hook(_begin, with_kwargs=True)
        model.hra_hooks = begin, model.register_forward_hook(_end, always_call=True)  # type: ignore[assignment]


def detach(model: nn.Module) -> None:
    """Undo `attach`."""
    for hook in model.__dict__.pop("hra_hooks", ()):
        hook.remove()


def _begin(model: nn.Module, inputs: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    if torch.compiler.is_compiling():
        return None
    # Also within another model's pass: one that was interrupted looks the same for as long as its traceback is kept.
    new = _Pass(keywords)
    new.bank = Bank(model)
    _passes.latest = weakref.ref(new)
    return inputs, new


def _end(*_: Any) -> None:
    if not torch.compiler.is_compiling():
        _passes.latest = None


@cache
def _end_with_steps() -> None:
    """End the pass of an interrupted call, which lives as long as its traceback, with the next step of an optimizer."""
    register_optimizer_step_post_hook(_end)
