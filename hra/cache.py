"""Factors of adapters that need no gradient, kept with a copy of what they were computed from.

Comparing the bytes of an `hra_u` with its copy takes a microsecond, computing the factors from it many, and notices
every change, however it was written. In a model's forward pass all layers compare at its start, and a change
during the pass is noticed by the parameter's version. On other devices than a CPU a comparison waits for the device, so
nothing is kept there: `bank.Bank` computes the factors of all layers together in every forward pass.
"""

import ctypes
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import nn

Value = tuple[torch.Tensor, torch.Tensor]
Entry = tuple[list[torch.Tensor], Value]  # copies of what the value was computed from, and the value
# Of C's library: torch.equal takes five to ten times as long, a twentieth of a decoding step.
_compare = (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).memcmp
_compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def is_same(tensor: torch.Tensor, copy: torch.Tensor) -> bool:
    """Return whether a tensor on a CPU has the dtype, the shape and the bytes of a contiguous copy."""
    if tensor.dtype != copy.dtype or tensor.shape != copy.shape:
        return False
    if not tensor.is_contiguous():
        return torch.equal(tensor, copy)
    return not _compare(tensor.data_ptr(), copy.data_ptr(), copy.nbytes)


class Kept:
    """The factors that a layer keeps of some adapters, and what they depend on."""

    def __init__(self, layer: Any, names: list[str], kinds: list[bool], us: list[nn.Parameter], entry: Entry) -> None:
        copies, self.factors = entry
        self._parameters, self._kinds = layer.hra_u._parameters, layer.hra_apply_GS
        self._sources = list(zip(names, kinds, us, copies, strict=True))
        self._seen = [(name, u, u._version) for name, u in zip(names, us, strict=True)]

    def is_valid(self) -> bool:
        """Return whether the layer's `hra_u` are the same parameters with the same content."""
        for name, kind, u, copy in self._sources:
            if self._parameters.get(name) is not u or self._kinds.get(name) != kind or not is_same(u, copy):
                return False
        self._seen = [(name, u, u._version) for name, _, u, _ in self._sources]
        return True

    def is_unchanged(self) -> bool:
        """Return whether this is so since `is_valid`, but for a write that does not count (to `.data`)."""
        for name, u, version in self._seen:
            if u._version != version or self._parameters.get(name) is not u:
                return False
        return True


class Cache:
    """Values by key. Copies and files of a cache are empty; each thread sees complete entries only."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, Entry] = {}

    def get(
        self, key: Hashable, sources: Sequence[torch.Tensor], compute: Callable[[list[torch.Tensor]], Value]
    ) -> Entry:
        """Return the value of `compute(sources)`, which depends on the key and the sources' content alone.

        It comes with copies of the sources: the value is theirs as long as `is_same`.
        """
        entry = self._entries.get(key)
        if entry is not None and all(map(is_same, sources, entry[0])):
            return entry
        with torch.inference_mode(False), torch.no_grad():
            # From the copies, so that it is their value even if another thread writes to the sources meanwhile.
            copies = [source.detach().clone(memory_format=torch.contiguous_format) for source in sources]
            value = compute(copies)
        self._entries[key] = copies, value
        return copies, value

    def clear(self) -> None:
        self._entries = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Cache":
        return Cache()

    def __reduce__(self) -> tuple["type[Cache]", tuple[()]]:
        return Cache, ()
