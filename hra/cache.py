"""Factors of adapters that need no gradient, kept with copies of the parameters that they were computed from.

Comparing the bytes of an `hra_u` with its copy takes a microsecond, much less than computing the factors, and detects
every change, however it was written. In a model's forward pass all layers compare at its start; a change during the
pass is detected by the parameter's version. On other devices than a CPU a comparison waits for the device, so nothing
is kept there: `bank.Bank` computes the factors of all layers together in every forward pass.
"""

import ctypes
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import nn

Value = tuple[torch.Tensor, torch.Tensor]
Entry = tuple[list[torch.Tensor], Value]  # copies of what the value was computed from, and the value
# memcmp of the C library: torch.equal takes five to ten times as long, a twentieth of a decoding step.
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
    """The factors that a `side.Side` keeps of some adapters, V and B (n, r), and the parameters that they depend on."""

    def __init__(self, side: Any, names: list[str], kinds: list[bool], us: list[nn.Parameter], entry: Entry) -> None:
        copies, self.factors = entry
        self._parameters, self._kinds = side.us._parameters, side.layer.hra_apply_GS
        self._sources = list(zip(names, kinds, us, copies, strict=True))
        self._seen = [(name, u, u._version) for name, u in zip(names, us, strict=True)]

    def is_valid(self) -> bool:
        """Return whether the side has the same parameters with the same content."""
        for name, kind, u, copy in self._sources:
            if self._parameters.get(name) is not u or self._kinds.get(name) != kind or not is_same(u, copy):
                return False
        self._seen = [(name, u, u._version) for name, _, u, _ in self._sources]
        return True

    def is_unchanged(self) -> bool:
        """Return whether nothing has changed since `is_valid`, except by writes to `.data`, which have no version."""
        for name, u, version in self._seen:
            if u._version != version or self._parameters.get(name) is not u:
                return False
        return True


class Cache:
    """Factors by key. A copied or unpickled cache is empty; each thread sees complete entries only."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, Entry] = {}

    def get(
        self, key: Hashable, sources: Sequence[torch.Tensor], compute: Callable[[list[torch.Tensor]], Value]
    ) -> Entry:
        """Return copies of the sources and the value of `compute(sources)`.

        The value must depend only on the key and on the sources' contents: it is valid as long as `is_same` holds.
        """
        entry = self._entries.get(key)
        if entry is not None and all(map(is_same, sources, entry[0])):
            return entry
        with torch.inference_mode(False), torch.no_grad():
            # Computed from the copies, so that the two agree even if another thread writes to the sources meanwhile.
            copies = [source.detach().clone(memory_format=torch.contiguous_format) for source in sources]
            value = compute(copies)
        self._entries[key] = copies, value
        return copies, value

    def clear(self) -> None:
        """Remove all entries."""
        self._entries = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Cache":
        return Cache()

    def __reduce__(self) -> tuple["type[Cache]", tuple[()]]:
        return Cache, ()
