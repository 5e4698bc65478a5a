"""The factors of all layers of a model, computed together in its forward pass.

T of one layer takes a dozen operations on matrices so small that starting them is most of the cost. The sides of layers
(`side.Side`) with equal (n, r, dtype, device, λ = ∞) are therefore stacked, their factors (L, n, r) are computed once
per forward pass, and each takes its slices. The backward pass collects the gradients of the slices and propagates them
to all u at once; it only needs T (for λ = ∞, the basis's coefficients). A side computes its own factors if its layer is
called outside of its model's forward pass (also when a checkpointed block is run again), has several active adapters or
is sharded. On a CPU it keeps them while it needs no gradients (`cache.Cache`).
"""

import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.hra.layer import HRALayer
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import _get_current_dispatch_mode, _pop_mode_temporarily
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from .cache import Kept
from .reflections import (
    basis,
    cast,
    cast_gradient,
    chain_gradient,
    compact,
    is_transformed,
    middle,
    second_factor,
    span,
    span_gradient,
    wide,
)

Factors = tuple[torch.Tensor, torch.Tensor]  # V and B of D = I - B Vᵀ, both (n, r)
Stack = list[tuple[Any, nn.Parameter]]  # sides with equal n, r, dtype, device, λ = ∞ and requires_grad, and their u


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
        ctx.how, ctx.us, ctx.versions, ctx.small = (apply_GS, dtype), us, [u._version for u in us], small
        # Where the layers keep it as V, it costs nothing, and serves after a write to `.data`, which no version counts.
        ctx.stack = stack if V is stack else None
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
        self._stacks: dict[str, dict[Any, tuple[Stack, int]]] = {}
        # By side, dtype and name: the side's parameters, u and its version, of which these are the factors.
        self._computed: dict[tuple[Any, ...], tuple[dict[str, Any], nn.Parameter, int, Factors]] = {}
        # By dtype and names: the sides' factors that were kept, and valid at the start of this pass.
        self._valid: dict[tuple[Any, ...], dict[Any, Kept]] = {}

    def find(self, side: Any, names: list[str], dtype: torch.dtype) -> Factors | None:
        """Return the factors V and B (n, r) that this pass has computed or, without gradients, found to be valid.

        All sides are compared at the first call, which is faster than one by one between other work. A write to
        `.data` during a pass takes effect in the next one, any other in this one. None: the side computes them.
        """
        key = dtype, *names
        if self._computed and (side, *key) in self._computed:
            return self._of_this_pass(side, *key)
        if self.trains or torch.is_grad_enabled() or torch._C._len_torch_dispatch_stack():
            return None
        valid = self._valid.get(key)
        if valid is None:
            kept = _kept.setdefault(self._model, {})
            valid = {of: one for of, one in kept.get(key, {}).items() if one.is_valid()}
            self._valid[key] = kept[key] = valid
        one = valid.get(side)
        return one.factors if one is not None and one.is_unchanged() else None

    def keep(self, side: Any, names: list[str], dtype: torch.dtype, one: Kept) -> None:
        """Let later passes of this model use the factors that a side keeps."""
        if (valid := self._valid.get((dtype, *names))) is not None:
            valid[side] = one

    def get(self, side: Any, name: str, u: nn.Parameter, dtype: torch.dtype | None) -> Factors | None:
        """Return V and B (n, r) of an adapter in `dtype` (None: u's, or float32); None: the side computes them."""
        dtype = dtype or (torch.float64 if u.dtype == torch.float64 else torch.float32)
        if name not in self._stacks:
            self._stacks[name] = _stacks(self._model, name)
        stack, index = self._stacks[name].get(side, ([], 0))
        side.alone = name if len(stack) == 1 else ""
        if len(stack) < 2 or stack[index][1] is not u:
            return None
        if u.is_cuda and torch.cuda.is_current_stream_capturing():
            return None  # as in `_of_this_pass`
        if (side, dtype, name) not in self._computed:
            us = [u for _, u in stack]
            versions = [u._version for u in us]
            with (
                _not_numbered(),
                torch.inference_mode(False),
                torch.enable_grad(),
                torch.autocast(u.device.type, enabled=False),
            ):
                flat = _Stacked.apply(side.layer.hra_apply_GS[name], dtype, *us)
            for i, (one, _) in enumerate(stack):
                factors = flat[i], flat[len(us) + i]
                self._computed[one, dtype, name] = one.us._parameters, us[i], versions[i], factors
        return self._of_this_pass(side, dtype, name)

    def _of_this_pass(self, *key: Any) -> Factors | None:
        parameters, u, version, factors = self._computed[key]
        if parameters.get(key[-1]) is not u or u._version != version:
            return None
        # A graph of a part of this pass would read this pass's factors in every later one.
        return None if u.is_cuda and torch.cuda.is_current_stream_capturing() else factors


def _sides_of(model: nn.Module) -> list[Any]:
    if model not in _sides:
        _sides[model] = [s for m in model.modules() if isinstance(m, HRALayer) for s in getattr(m, "sides", ())]
    return _sides[model]


def _stacks(model: nn.Module, name: str) -> dict[Any, tuple[Stack, int]]:
    """Return the stack of each side and its index there."""
    places: dict[Any, tuple[Stack, int]] = {}
    stacks: dict[tuple[Any, ...], Stack] = defaultdict(list)
    for side in _sides_of(model):
        if (u := side.stackable(name)) is not None:
            stack = stacks[*u.shape, u.dtype, u.device, side.layer.hra_apply_GS[name], u.requires_grad]
            places[side] = stack, len(stack)
            stack.append((side, u))
    return places


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
_sides: WeakKeyDictionary[nn.Module, list[Any]] = WeakKeyDictionary()  # those of each model, found once
_kept: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], dict[Any, Kept]]] = WeakKeyDictionary()  # as `_valid`


def current() -> Bank | None:
    """Return the bank of the forward pass that this thread is in, unless it is in a backward pass or transform."""
    running = None if _passes.latest is None else _passes.latest()
    if running is None or torch._C._current_graph_task_id() != -1:
        return None
    return None if is_transformed() else running.bank


def attach(model: nn.Module) -> None:
    """Let the model's forward passes use a bank, with the layers that it has at the next pass."""
    _sides.pop(model, None)
    _kept.pop(model, None)
    if _begin not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_begin, with_kwargs=True)
        model.register_forward_hook(_end, always_call=True)


def forget(side: Any) -> None:
    """Release the factors that are kept for a side in the passes of models."""
    for of_model in _kept.values():
        for kept in of_model.values():
            kept.pop(side, None)


def detach(model: nn.Module) -> None:
    """Undo `attach`."""
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key in [key for key, hook in hooks.items() if hook in (_begin, _end)]:
            hooks.pop(key)
            model._forward_pre_hooks_with_kwargs.pop(key, None)
            model._forward_hooks_always_called.pop(key, None)


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


# The pass of an interrupted call lives as long as its traceback, until the next pass or step.
register_optimizer_step_post_hook(_end)


# The modes of selective checkpointing, which numbers the operations of a block and looks them up in its second run.
_SELECTIVE = tuple(type(mode) for mode in create_selective_checkpoint_contexts([]))


def is_selective() -> bool:
    """Return whether a selectively checkpointed block, in its first or second run, numbers the operations."""
    return isinstance(_get_current_dispatch_mode(), _SELECTIVE)


def can_compare(tensors: Sequence[torch.Tensor]) -> bool:
    """Return whether these are plain tensors on a CPU with known content, and operations are not numbered."""
    for tensor in tensors:
        if type(tensor) not in (nn.Parameter, torch.Tensor) or not tensor.is_cpu:
            return False
    if torch._C._len_torch_dispatch_stack():
        dry_run = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None
        if dry_run or is_selective():
            return False
    return not is_transformed()


@contextmanager
def _not_numbered() -> Iterator[None]:
    """Hide operations from selective checkpointing: only the first run of a block uses the bank."""
    with ExitStack() as stack:
        while is_selective():
            stack.enter_context(_pop_mode_temporarily())
        yield


@contextmanager
def unseen_by_checkpoints() -> Iterator[None]:
    """Hide operations and saved tensors from checkpointing, which counts them, as only the first run uses the bank."""
    if torch._C._are_functorch_transforms_active():  # these forbid hooks, and checkpointing with them
        yield
        return
    # Detached: a saved output of a function that refers to the function would be a cycle, which is never freed.
    with _not_numbered(), torch.autograd.graph.saved_tensors_hooks(torch.Tensor.detach, torch.Tensor.detach):
        yield
