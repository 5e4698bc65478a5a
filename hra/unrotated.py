"""The weight of an adapted layer as seen by a forward pass that reads it instead of calling the layer."""

from functools import cache
from typing import Any

import torch


class Unrotated(torch.Tensor):
    """A weight W whose dtype and shape may be read, but which raises ValueError in operations: they would lack H."""

    path: str

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **(kwargs or {}))
        results = result if isinstance(result, (tuple, list)) else [result]
        if any(isinstance(one, torch.Tensor) for one in results):
            raise ValueError(
                f"HRA cannot adapt {cls.path}: this model's forward pass reads its weight without calling it, so the "
                "adapter would have no effect. Exclude it with `exclude_modules`."
            )
        return result


@cache
def _kind(path: str) -> type[Unrotated]:
    return type("Unrotated", (Unrotated,), {"path": path})


def unrotated(weight: torch.Tensor, path: str) -> torch.Tensor:
    """Return a view of the weight, in its shape and dtype, that raises ValueError with the path when it is used."""
    return weight.as_subclass(_kind(path))
