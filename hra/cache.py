"""Factors of adapters that need no gradient, kept with copies of the parameters that they were computed from.

Comparing the bytes of an `hra_u` with its copy takes a microsecond, much less than computing the factors, and detects
every change, however it was written. On other devices than a CPU a comparison waits for the device, so nothing is kept
there: `bank.Bank` computes the factors of all layers together in every forward pass.
"""

import ctypes
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from .torch_internals import unseen_by_checkpoints

Value = tuple[torch.Tensor, torch.Tensor]
Entry = tuple[list[torch.Tensor], Value]  # copies of what the value was computed from, and the value
# memcmp of the C library: torch.equal takes five to ten times as long, a twentieth of a decoding step.
_compare = (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).memcmp
_compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def is_same(tensor: torch.Tensor, copy: torch.Tensor) -> bool:
    """Return whether a contiguous tensor on a CPU has the dtype, the shape and the bytes of a copy."""
    if tensor.dtype != copy.dtype or tensor.shape != copy.shape:
        return False
    return not _compare(tensor.data_ptr(), copy.data_ptr(), copy.nbytes)


class Cache:
    """Factors by key. A copied or unpickled cache is empty; each thread sees complete entries only."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, Entry] = {}

    def get(
        self, key: Hashable, sources: Sequence[torch.Tensor], compute: Callable[[list[torch.Tensor]], Value]
    ) -> Value:
        """Return the value of `compute(sources)`.

        It must depend only on the key and on the sources' contents: it is valid as long as `is_same` holds.
        """
        entry = self._entries.get(key)
        if entry is not None and all(map(is_same, sources, entry[0])):
            return entry[1]
        with unseen_by_checkpoints(), torch.inference_mode(False), torch.no_grad():
            # Computed from the copies, so that the two agree even if another thread writes to the sources meanwhile.
            copies = [source.detach().clone() for source in sources]
            value = compute(copies)
        if type(copies[0]) is torch.Tensor:  # not in a dry run on fake tensors
            self._entries[key] = copies, value
        return value

    def clear(self) -> None:
        """Remove all entries."""
        self._entries = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Cache":
        return Cache()

    def __reduce__(self) -> tuple["type[Cache]", tuple[()]]:
        return Cache, ()
