"""The chains of reflections of one layer: the parameters `hra_u` of its adapters, and their factors."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import nn

from .bank import Bank, Factors
from .bank import current as bank_of_this_pass
from .cache import Cache
from .reflections import cast, compact, compose, middle
from .torch_internals import is_transformed, unseen_by_checkpoints

Parts = tuple[torch.Tensor, ...]  # V and B of D = I - B Vᵀ; or U, U and T of D = I - U T Uᵀ


def product(us: Sequence[torch.Tensor], kinds: Sequence[bool]) -> Factors:
    """Compute V and B of the product of D_1, D_2, ... of each u (n, r), where `kinds` says which have λ = ∞."""
    with torch.autocast(us[0].device.type, enabled=False):
        return reduce(compose, map(compact, us, kinds))


def in_memory(us: Any, names: Sequence[str]) -> list[torch.Tensor]:
    """Return these tensors of a `nn.ParameterDict`, loaded if accelerate has offloaded them."""
    hook: Any = getattr(us, "_hf_hook", None) if us[names[0]].is_meta else None
    if hook is not None:  # which would load them for calls of the dict
        hook.pre_forward(us)
    tensors = [us[name] for name in names]
    if hook is not None:
        hook.post_forward(us, None)
    return tensors


class Chain:
    """The chain of reflections of each of a layer's adapters, by its parameter `hra_u` (n, r)."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.alone = ""  # the adapter that has the only parameter of its kind in the model, set by the bank
        self._cache = Cache()

    @property
    def us(self) -> Any:
        """Return the layer's `hra_u`."""
        return self.layer._modules["hra_u"]  # an attribute takes ten times as long

    def forget(self) -> None:
        """Release the factors that are kept between calls."""
        self._cache.clear()

    def product(self, adapter_names: list[str]) -> Factors:
        """Return V and B of D_1 D_2 … of those adapters that the layer has, in float32 or wider, differentiable.

        Both are (n, r) for r the sum of their ranks. Raises KeyError if it has none of them.
        """
        us = self.us
        names = [name for name in adapter_names if name in us]
        if not names:
            raise KeyError(f"expected one of the adapters {list(us)} of {self.layer.path}, found {adapter_names}")
        return product(in_memory(us, names), [self.layer.hra_apply_GS[name] for name in names])

    def stackable(self, name: str) -> nn.Parameter | None:
        """Return an adapter's parameter if its factors may be computed with those of other layers, in `bank.Bank`."""
        u = self.us.get(name)
        # FSDP and DeepSpeed's ZeRO-3 (ds_id) exchange the content of parameters.
        if type(u) is not nn.Parameter or hasattr(u, "ds_id"):
            return None
        if self.layer.__dict__.get("_is_fsdp_managed_module"):
            return None
        return None if u.is_meta or u.is_inference() else u

    def prepared(self, adapter_names: list[str], dtype: torch.dtype) -> Parts | None:
        """Return these adapters' factors, kept ones if no gradients are needed; None if it has none of them."""
        parameters = self.us
        names = [name for name in adapter_names if name in parameters]
        if not names:
            return None
        if torch.compiler.is_compiling():
            return cast(*self.product(names), dtype)
        us, bank = [parameters[name] for name in names], bank_of_this_pass()
        # A checkpointed block may run without gradients in a pass that needs them.
        trains = torch.is_grad_enabled() or (bank is not None and bank.trains)
        if (trains and any([u.requires_grad for u in us])) or not can_compare(us):
            return self._computed(names, us, dtype, bank)
        kinds = [self.layer.hra_apply_GS[name] for name in names]

        def compute(copies: list[torch.Tensor]) -> Factors:
            V, B = cast(*product(copies, kinds), dtype)
            # Their columns are contiguous: with one row of x, as in decoding, x V is up to five times as fast.
            return V.mT.contiguous().mT, B.mT.contiguous().mT

        return self._cache.get((dtype, *kinds, *names), us, compute)

    def _computed(self, names: list[str], us: list[nn.Parameter], dtype: torch.dtype, bank: Bank | None) -> Parts:
        """Return the product of these adapters' factors, cast to dtype, from the bank if there is one.

        If no other layer of the model has a parameter of the same kind and nothing is cast, it returns U, U and T: then
        neither B nor its gradient is computed.
        """
        if len(names) == 1:
            (name,), (u,) = names, us
            if bank is not None and (found := bank.get(self, name, u, dtype)) is not None:
                return found
            # Also in the second run of a checkpointed block, which must save the same tensors as the first.
            plain = not (self.layer.hra_apply_GS[name] or u.is_meta or is_transformed())
            # A narrow u is not balanced by its lengths, as `cast` does, and T would be out of range.
            if self.alone == name and plain and dtype == u.dtype and u.dtype in (torch.float32, torch.float64):
                with torch.autocast(u.device.type, enabled=False):
                    return u, u, middle(u).to(u.dtype)
        with unseen_by_checkpoints():
            return cast(*self.product(names), dtype)


def can_compare(tensors: Sequence[torch.Tensor]) -> bool:
    """Return whether these are plain, contiguous tensors on a CPU with known content."""
    for tensor in tensors:
        if type(tensor) not in (nn.Parameter, torch.Tensor) or not tensor.is_cpu or not tensor.is_contiguous():
            return False
    return not is_transformed()
