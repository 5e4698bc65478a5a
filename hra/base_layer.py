"""The adapters of one layer: parameters with the names and shapes of `peft.tuners.hra`, initialisation, factors."""

import itertools
import math
from functools import cache
from typing import Any

import torch
from peft.tuners.hra.config import HRAConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from .bank import Factors
from .bank import current as bank_of_this_pass
from .chain import Chain, Parts
from .merging import Merging
from .quantized import is_plain
from .reflections import cast, exact

Rotations = list[tuple[torch.Tensor | None, Parts]]  # rows of the batch (None: all), and their factors


def _initialise(u: torch.Tensor, deviation: float | None) -> None:
    if deviation is None:
        nn.init.kaiming_uniform_(u, a=math.sqrt(5))
    else:
        nn.init.uniform_(u, -math.sqrt(3) * deviation, math.sqrt(3) * deviation)


class HRALayer(nn.Module, Merging):
    """The adapters of one layer and their compact form; subclasses implement `forward`.

    Each adapter has an `hra_u` (n, r). Several active adapters are multiplied in order, W D_1 D_2, as in PEFT.

    An `hra_u` must not change between a forward pass and its backward pass. A write in place raises RuntimeError there;
    one to `hra_u[...].data`, which autograd does not count, may give a wrong gradient instead (docs/library.md).
    """

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: HRAConfig, r: int = 0, **kwargs: Any) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.path = ""  # path in the model, set by the tuner
        self.hra_r = {}
        self.hra_apply_GS = {}
        self.hra_u = nn.ParameterDict({})
        self.chain = Chain(self)
        self._disable_adapters = False
        self.merged_adapters = []
        self.cast_input_dtype_enabled = True
        self.kwargs = kwargs
        base, conv = self.get_base_layer(), isinstance(self.get_base_layer(), nn.Conv2d)
        self.in_features = base.in_channels if conv else base.in_features
        self.out_features = base.out_channels if conv else base.out_features
        self._merged_factors: Factors | None = None
        self._weight_before_merge: torch.Tensor | None = None
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, r, config)

    @property
    def n(self) -> int:
        """Return the width of the (flattened) input of the weight (out, n), which is the number of rows of `hra_u`."""
        return self.in_features

    def get_base_layer(self) -> Any:
        """Return the same as PEFT's method of this name, without its failing look-up in every call."""
        base = self._modules["base_layer"]
        return base.get_base_layer() if isinstance(base, BaseTunerLayer) else base

    @property
    def weight(self) -> torch.Tensor:
        """Return the base layer's weight, as an `Unrotated` in a forward pass that uses the adapter."""
        weight: torch.Tensor = super().weight
        if not is_plain(weight) or bank_of_this_pass() is None or self.disable_adapters or self.merged:
            return weight
        return weight if self.hra_u.keys().isdisjoint(self.active_adapters) else unrotated(weight, self.path)

    def get_base_dtype(self) -> torch.dtype | None:
        """Return the dtype of the base weight, or None if it is quantised or sharded."""
        base: Any = self._modules["base_layer"]  # read in every call: an attribute takes ten times as long
        weight = base._parameters.get("weight")
        if weight is None:
            weight = getattr(self.get_base_layer(), "weight", None)
        return weight.dtype if is_plain(weight) else None

    def _base_is_just(self, kind: type[nn.Module]) -> bool:
        """Return whether the base layer is exactly a `kind`, without hooks and with no other `forward`."""
        base: Any = self._modules["base_layer"]
        return (
            type(base) is kind
            and "forward" not in base.__dict__
            and not (base._forward_pre_hooks or base._forward_hooks)
            and not (base._backward_pre_hooks or base._backward_hooks)
        )

    def update_layer(self, adapter_name: str, r: int, config: HRAConfig, **kwargs: Any) -> None:
        """Add an adapter: `hra_u` (n, r), float32 or wider, on the base layer's device.

        Raises ValueError if r is not positive. Unless the adapter is being loaded (`inference_mode`, or meta device),
        also if r is above n or odd with the paired initialisation.
        """
        if not isinstance(r, int) or r <= 0:
            raise ValueError(f"`r` should be a positive integer value but the value passed is {r!r}")
        base = self.get_base_layer()
        device = next((tensor.device for tensor in itertools.chain(base.parameters(), base.buffers())), None)
        dtype = torch.promote_types(self.get_base_dtype() or torch.float32, torch.float32)
        self.hra_u[adapter_name] = nn.Parameter(torch.empty(self.n, r, device=device, dtype=dtype))
        # With `low_cpu_mem_usage`, registering the parameter has moved it to the meta device.
        if not (config.inference_mode or self.hra_u[adapter_name].is_meta):
            self._check_start(adapter_name, r, config)
        self.hra_r[adapter_name] = r
        self.hra_apply_GS[adapter_name] = config.apply_GS
        paired = config.init_weights and not config.apply_GS and r % 2 == 0
        start = self.reset_hra_parameters if paired else self.reset_hra_parameters_random
        start(adapter_name, getattr(config, "start_deviation", None))
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _check_start(self, adapter_name: str, r: int, config: HRAConfig) -> None:
        error = None
        if r > self.n:
            error = (
                f"HRA with r = {r} on {self.get_base_layer()}, whose input width is {self.n}: more "
                f"reflections than dimensions add nothing. Choose r <= {self.n}, or exclude the "
                "layer with `exclude_modules`."
            )
        elif r % 2 and config.init_weights and not config.apply_GS:
            error = (
                f"HRA with r = {r}: a product of an odd number of reflections has determinant -1 and "
                f"cannot be initialised to the base model. Choose an even r (for example {r + 1}), or "
                "`init_weights=False` for a random initialisation. (To continue training a saved "
                "adapter with odd r, load it with `low_cpu_mem_usage=True`.)"
            )
        if error is not None:
            del self.hra_u[adapter_name]
            raise ValueError(error)

    @torch.no_grad()
    def reset_hra_parameters(self, adapter_name: str, deviation: float | None = None) -> None:
        """Initialise (n, r), r even, to the base model, as PEFT does: pairs of equal random columns cancel.

        deviation: the standard deviation of the entries; None: PEFT's, √(2/(3r)).
        """
        u = self.hra_u[adapter_name]
        half = u.new_empty(len(u), u.shape[1] // 2)
        _initialise(half, deviation)
        u.copy_(half.repeat_interleave(2, dim=1))

    @torch.no_grad()
    def reset_hra_parameters_random(self, adapter_name: str, deviation: float | None = None) -> None:
        """Initialise (n, r) with independent random columns; with `apply_GS`, paired ones would be degenerate."""
        _initialise(self.hra_u[adapter_name], deviation)

    def get_factors(self, adapter_names: list[str]) -> Factors:
        """Return V and B of D = I - B Vᵀ, the product, in this order, of those adapters that the layer has.

        Both are (n, r) for r the sum of their ranks, float32 or wider, also under autocast, and
        differentiable. Raises KeyError if the layer has none of the adapters.
        """
        return self.chain.product(adapter_names)

    def get_delta_weight(self, adapter_name: str, reverse: bool = False) -> torch.Tensor:
        """Build the dense D (n, n), or Dᵀ if `reverse`, as PEFT's method does; nothing in this package calls it."""
        V, B = self.get_factors([adapter_name])
        D = torch.eye(self.n, dtype=V.dtype, device=V.device) - (exact(B) @ exact(V).mT).to(V.dtype)
        return D.mT if reverse else D

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Return False, even if PEFT can convert its own HRA layers: `hra.to_lora` converts this package's."""
        return False

    def _rotations(self, x: torch.Tensor, adapter_names: list[str] | None, dtype: torch.dtype) -> Rotations:
        """Return the factors, cast to `dtype`, with the rows of the batch that each of them rotates."""
        if adapter_names is None:
            if self._merged_factors is None:
                factors = None if self.disable_adapters else self.chain.prepared(self.active_adapters, dtype)
            elif self.disable_adapters:
                # W D x' = W x for x' = Dᵀ x, Dᵀ = I - V Bᵀ: no need to unmerge within a forward.
                B, V = (factor.to(x.device) for factor in self._merged_factors[::-1])
                factors = cast(B, V, dtype)
            else:
                factors = None
            return [] if factors is None else [(None, factors)]
        if self.merged:
            raise ValueError(
                f"`adapter_names` needs unmerged adapters, but {self.merged_adapters} are merged. "
                "Call `unmerge_adapter` first."
            )
        if len(adapter_names) != len(x):
            raise ValueError(
                f"`adapter_names`: expected one adapter name for each of the {len(x)} inputs, found "
                f"{len(adapter_names)} names."
            )
        parts: Rotations = []
        for name in {} if self.disable_adapters else dict.fromkeys(adapter_names):
            if (factors := self.chain.prepared([name], dtype)) is not None:
                rows = [i for i, other in enumerate(adapter_names) if other == name]
                parts.append((torch.tensor(rows, device=x.device), factors))
        return parts

    def _working_dtypes(self, x: torch.Tensor) -> tuple[torch.dtype, torch.dtype, torch.dtype | None]:
        """Return the dtypes of the rotation, of the base layer's input and of the output (None: the base layer's)."""
        device = "cpu" if x.is_cpu else x.device.type  # read in every call: `type` takes four times as long
        if torch.is_autocast_enabled(device):
            dtype = x.dtype if x.dtype == torch.float64 else torch.get_autocast_dtype(device)
            return dtype, dtype, None
        given, base = x.dtype, self.get_base_dtype() if self.cast_input_dtype_enabled else None
        if base is None or base == given:
            return given, given, given
        return torch.promote_types(given, base), base, given

    def delete_adapter(self, adapter_name: str) -> None:
        """Remove an adapter, and the factors that are kept of any."""
        self.chain.forget()
        super().delete_adapter(adapter_name)

    def __repr__(self) -> str:
        return "hra." + super().__repr__()


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
