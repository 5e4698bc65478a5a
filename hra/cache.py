"""Values computed from parameters, kept until a parameter may have changed.

A version counter counts a tensor's changes in place, but not those through `.data`, whose result has a counter of its
own. Moving averages of weights and older optimisers write that way, so a parameter on which a kept value depends also
counts the accesses to its `.data` (`Watched`). Not noticed: a write through a `.data` that was taken earlier, unless a
forward pass with gradients or a call of `train()` or `eval()`, which empty the cache, lies in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import nn

State = tuple[int | None, int]
Value = tuple[torch.Tensor, torch.Tensor]
_data: Any = nn.Parameter.data  # torch's descriptor
_numbers = itertools.count()  # never the same twice, in any thread


class Watched(nn.Parameter):
    """A parameter whose `.data` has been accessed since the last look if its `number` is another one."""

    @property
    def data(self) -> torch.Tensor:
        self.number = next(_numbers)
        return _data.__get__(self)

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        self.number = next(_numbers)
        _data.__set__(self, value)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        release(self)  # files contain plain parameters
        return self.__reduce_ex__(protocol)


def watch(parameter: nn.Parameter) -> None:
    parameter.__dict__.setdefault("number", next(_numbers))
    parameter.__class__ = Watched


def release(parameter: nn.Parameter) -> None:
    """Make it a plain parameter again: optimisers choose their fast implementation by the type."""
    if type(parameter) is Watched:
        plain: type[Any] = nn.Parameter
        parameter.__class__ = plain
        parameter.__dict__.pop("number", None)


def _state(parameter: nn.Parameter) -> State:
    return getattr(parameter, "number", None), parameter._version


def can_keep(tensors: Sequence[torch.Tensor]) -> bool:
    """Return whether changes of all these tensors are noticed, and none is being traced or transformed."""
    for tensor in tensors:
        # DeepSpeed's ZeRO-3 (ds_id) exchanges the content of its parameters.
        if type(tensor) not in (nn.Parameter, Watched) or tensor.is_inference() or hasattr(tensor, "ds_id"):
            return False
        if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
            return False
    return not (torch._C._are_functorch_transforms_active() or torch._C._is_tracing())


class Cache:
    """Values by key. Copies and files of a cache are empty; each thread sees complete entries only."""

    def __init__(self) -> None:
        # The parameters that a value was computed from, their states then, and the value.
        self._entries: dict[Hashable, tuple[tuple[nn.Parameter, ...], tuple[State, ...], Value]] = {}

    def get(self, key: Hashable, parameters: tuple[nn.Parameter, ...], compute: Callable[[], Value]) -> Value:
        """Return the value of `compute()`, two tensors without gradients, computed from these parameters."""
        entry = self._entries.get(key)
        if entry is not None:
            sources, states, value = entry
            if all(map(_same, parameters, sources, states)):
                return value
        # In a dry run on fake tensors, torch 2.9 accepts no subclass of a parameter.
        dry = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None
        for parameter in parameters:
            (release if dry else watch)(parameter)
        states = tuple(map(_state, parameters))  # before they are read, so that a change meanwhile is noticed
        with torch.inference_mode(False), torch.no_grad():
            V, B = compute()
            value = V.detach(), B.detach()  # a factor may be the parameter itself
        if not dry:
            self._entries[key] = parameters, states, value
        return value

    def clear(self) -> None:
        if torch.compiler.is_compiling():
            return
        entries, self._entries = self._entries, {}
        for parameters, _, _ in entries.values():
            for parameter in parameters:
                release(parameter)

    def __deepcopy__(self, memo: dict[int, Any]) -> Cache:
        return Cache()

    def __reduce__(self) -> tuple[type[Cache], tuple[()]]:
        return Cache, ()


def _same(parameter: nn.Parameter, source: nn.Parameter, state: State) -> bool:
    return parameter is source and _state(parameter) == state
