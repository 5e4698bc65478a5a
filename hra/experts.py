"""Stacked experts: adapters of parameters (E, out, n) or (E, n, out) that a module multiplies itself, without a layer.

Mixtral, Qwen3-MoE, gpt-oss and most other mixture-of-experts models of transformers 5 keep the weights of all experts
of a block in two such parameters. Each expert e has its own U_e (n, r), and the module gets W_e H_e instead of W_e for
its call: O(E out n r) operations and a second copy of W until the backward pass, as with PEFT's LoRA.
"""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.hra.config import HRAConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from .base_layer import HRALayer
from .quantized import is_plain
from .side import Parts

_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


# PEFT compares this name: a module with several adapted parameters has one wrapper for each, around each other.
class ParamWrapper(HRALayer):
    """The adapters of one parameter of a module: `hra_u` (E, n, r), or (n, r) if the parameter is a matrix (out, n).

    Outside of the module's call, its parameter has the base model's values.
    """

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, config: HRAConfig, parameter_name: str, path: str, r: int = 0
    ) -> None:
        base = base_layer.get_base_layer() if isinstance(base_layer, BaseTunerLayer) else base_layer
        self.parameter_name: str = parameter_name
        self.transposed = _check_parameter(base_layer, base, parameter_name, path)
        super().__init__(base_layer, adapter_name, config, r)

    def _parameter(self) -> torch.Tensor:
        parameter: torch.Tensor = getattr(self.get_base_layer(), self.parameter_name)
        return parameter

    def _widths(self) -> tuple[int, int]:
        *_, out, n = self._parameter().shape
        return (out, n) if self.transposed else (n, out)

    def _stack(self) -> tuple[int, ...]:
        return tuple(self._parameter().shape[:-2])

    def _matrices(self, weight: torch.Tensor) -> Sequence[torch.Tensor]:
        if weight.dim() == 2:
            return [weight]
        return (weight.mT if self.transposed else weight).unbind()

    def get_base_dtype(self) -> torch.dtype | None:
        """Return the parameter's dtype, or None if it is sharded."""
        parameter = self._parameter()
        return None if hasattr(parameter, "placements") else parameter.dtype

    def forward(self, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any) -> Any:
        """Call the module with W_e H_e as its parameter.

        The arguments and the return value are the module's. Raises ValueError if `adapter_names` is set, TypeError if
        the parameter is sharded or offloaded.
        """
        if adapter_names is not None:
            raise ValueError(
                f"HRA on {self.path}: expected one adapter for all samples, found `adapter_names`, which adapters of "
                "parameters cannot use. Set the adapter with `set_adapter`."
            )
        base: Any = self._modules["base_layer"]
        with self._locked():
            weight = self._adapted()
            if weight is None:
                return base(*args, **kwargs)
            # An attribute of this name takes precedence over the parameter; FSDP1 keeps its own tensor there.
            attributes = self.get_base_layer().__dict__
            before = attributes.get(self.parameter_name)
            attributes[self.parameter_name] = weight
            try:
                return base(*args, **kwargs)
            finally:
                if before is None:
                    del attributes[self.parameter_name]
                else:
                    attributes[self.parameter_name] = before

    def _locked(self) -> AbstractContextManager[Any]:
        """Keep other threads from calling the module meanwhile: they would use W_e H_e as its parameter."""
        if torch.compiler.is_compiling():
            return nullcontext()
        lock: AbstractContextManager[Any] = _locks.setdefault(self.get_base_layer(), threading.RLock())
        return lock

    def _adapted(self) -> torch.Tensor | None:
        """Compute the adapted parameter; None: use the module's own."""
        if self.merged != self.disable_adapters:
            return None
        weight = self._weight_in_memory()
        factors: Parts | None
        if not self.merged:
            factors = self.inputs.prepared(self.active_adapters, weight.dtype)
        elif self._weight_before_merge is not None:
            return self._weight_before_merge.to(weight.device)
        elif (factors := self._merged_factors) is not None:  # W = (W D) Dᵀ
            factors = factors[1].to(weight.device), factors[0].to(weight.device)
        if factors is None:
            return None
        V, B = factors
        return rotated(weight, V, B, self.transposed)

    def _weight_in_memory(self) -> torch.Tensor:
        weight, hook = self._parameter(), getattr(self.get_base_layer(), "_hf_hook", None)
        if hasattr(weight, "placements") or getattr(hook, "offload", False):
            raise TypeError(
                f"HRA on {self.path}: expected a parameter in this process' memory, found it sharded or offloaded. "
                "Load the base model without sharding and offloading, or shard only modules that contain this one."
            )
        return weight

    def _writable_weight(self) -> torch.Tensor:
        self._weight_in_memory()
        return super()._writable_weight()

    def unload_and_optionally_merge_module(
        self, merge: bool, safe_merge: bool, adapter_names: list[str] | None
    ) -> nn.Module:
        """Return the module without its wrappers; PEFT calls this method if a layer has it."""
        layer: Any = self
        while isinstance(layer, ParamWrapper):
            if merge:
                layer.merge(safe_merge=safe_merge, adapter_names=adapter_names)
            layer = layer.base_layer
        module: nn.Module = layer
        return module

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        # PEFT's method of this name looks for a `weight`.
        if adapter_name in self.hra_u and not self.hra_u[adapter_name].is_meta:
            self.hra_u[adapter_name] = self.hra_u[adapter_name].to(device or self._parameter().device)

    def extra_repr(self) -> str:
        """Return the part of the representation that names the parameter."""
        return f"parameter_name={self.parameter_name!r}"


def rotated(weight: torch.Tensor, V: torch.Tensor, B: torch.Tensor, transposed: bool) -> torch.Tensor:
    """Compute W - (W B) Vᵀ of a weight (..., out, n) or, if `transposed`, Wᵀ - V (Bᵀ Wᵀ) of a weight (..., n, out)."""
    with torch.autocast(weight.device.type, enabled=False):
        first, second = (V, B.mT @ weight) if transposed else (weight @ B, V.mT)
        return (torch.addmm if weight.dim() == 2 else torch.baddbmm)(weight, first, second, alpha=-1)


def _check_parameter(layer: nn.Module, base: Any, name: str, path: str) -> bool:
    """Check that a parameter can be adapted, and return whether it is (E, n, out)."""
    parameter = dict(base.named_parameters(recurse=False)).get(name)
    shape = None if parameter is None else tuple(parameter.shape)
    if parameter is None or not is_plain(parameter) or parameter.dim() not in (2, 3):
        found = f"{parameter.dtype} of shape {shape}" if parameter is not None else "one that is computed"
        raise TypeError(
            f"HRA cannot adapt {path}: expected a floating-point parameter of shape (E, out, in), (E, in, out) or "
            f"(out, in), neither quantised nor sharded, found {found}. Load the base model without quantisation, "
            "parametrizations and sharding, or leave it out of `target_parameters`."
        )
    if isinstance(layer, BaseTunerLayer) and not isinstance(layer, ParamWrapper):
        raise TypeError(
            f"HRA cannot adapt {path}: expected a parameter without other adapters, found one of "
            f"{type(layer).__module__}. Merge that adapter into the base model first (`merge_and_unload`)."
        )
    if getattr(base, "_is_expert_parallel", False):
        raise TypeError(
            f"HRA cannot adapt {path}: expected all experts in this process, found expert parallelism. Load the base "
            "model without it."
        )
    if parameter.dim() == 2:
        return False
    stated = getattr(base, "is_transposed", None)  # set by transformers' decorator of experts
    if stated is not None:
        return bool(stated)
    up, down = (getattr(base, key, parameter[..., :0]) for key in ("gate_up_proj", "down_proj"))
    for transposed, (out, n) in enumerate([(-2, -1), (-1, -2)]):
        if up.shape[out] == 2 * down.shape[n] > 0 and up.shape[n] == down.shape[out]:
            return bool(transposed)
    raise ValueError(
        f"HRA cannot adapt {path}: expected a module whose `is_transposed` says whether its parameters are (E, in, "
        f"out), found {type(base).__name__} without it and {name} of shape {shape}. Set `is_transposed` of these "
        "modules to True if they are, or to False if they are (E, out, in)."
    )


def find_wrapper(module: Any, parameter_name: str) -> ParamWrapper | None:
    """Find the wrapper of a parameter among those around a module."""
    while isinstance(module, ParamWrapper):
        if module.parameter_name == parameter_name:
            return module
        module = module.base_layer
    return None
