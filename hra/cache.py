"""Factors of adapters that need no gradient, kept with a copy of what they were computed from.

Comparing an `hra_u` with its copy takes a sixteenth of the time of computing the factors from it, and notices every
change, however it was written. On other devices than a CPU a comparison waits for the device, so nothing is kept there:
`bank.Bank` computes the factors of all layers together in every forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import nn

from .bank import is_selective
from .reflections import is_transformed

Value = tuple[torch.Tensor, torch.Tensor]


def can_compare(tensors: Sequence[torch.Tensor]) -> bool:
    """Return whether these are plain tensors on a CPU whose content is known, and nobody numbers the operations."""
    for tensor in tensors:
        if type(tensor) not in (nn.Parameter, torch.Tensor) or not tensor.is_cpu:
            return False
    if torch._C._len_torch_dispatch_stack():
        dry_run = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None
        if dry_run or is_selective():
            return False
    return not is_transformed()


class Cache:
    """Values by key. Copies and files of a cache are empty; each thread sees complete entries only."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[list[torch.Tensor], Value]] = {}

    def get(
        self, key: Hashable, sources: Sequence[torch.Tensor], compute: Callable[[list[torch.Tensor]], Value]
    ) -> Value:
        """Return the value of `compute(sources)`, which depends on the key and the sources' content alone."""
        entry = self._entries.get(key)
        if entry is not None:
            for source, copy in zip(sources, entry[0], strict=True):
                if source.dtype != copy.dtype or not torch.equal(source, copy):
                    break
            else:
                return entry[1]
        with torch.inference_mode(False), torch.no_grad():
            # From the copies, so that it is their value even if another thread writes to the sources meanwhile.
            copies = [source.detach().clone() for source in sources]
            value = compute(copies)
        self._entries[key] = copies, value
        return value

    def clear(self) -> None:
        self._entries = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Cache:
        return Cache()

    def __reduce__(self) -> tuple[type[Cache], tuple[()]]:
        return Cache, ()
