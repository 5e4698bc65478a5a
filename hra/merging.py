"""Merging a layer's adapters into its weight, and undoing it."""

import warnings
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.hra.layer import HRALayer as PeftHRALayer
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge

from .bank import Factors
from .quantized import is_partitioned, is_plain
from .reflections import compose, exact, thin

ROWS = 256  # rows of a weight per multiplication, so that their float64 copy stays small


class Merging(PeftHRALayer):
    """The methods of `base_layer.HRALayer` that write its base layer's weight."""

    if TYPE_CHECKING:  # defined by HRALayer
        path: str
        hra_u: Any
        _merged_factors: Factors | None
        _weight_before_merge: torch.Tensor | None

        def get_base_layer(self) -> Any: ...  # noqa: D102
        def get_base_dtype(self) -> torch.dtype | None: ...  # noqa: D102
        def get_factors(self, adapter_names: list[str]) -> Factors: ...  # noqa: D102

    def _writable_weight(self) -> torch.Tensor:
        base = self.get_base_layer()
        # FSDP's weights look plain between a forward and the next resharding, but writes to them are lost.
        is_fsdp = getattr(base, "_is_fsdp_managed_module", False)
        if is_fsdp or self.get_base_dtype() is None or is_partitioned(base.weight):
            raise TypeError(
                f"HRA cannot merge into {self.path or base}: expected a plain floating-point weight, found a quantised "
                f"or sharded (FSDP, ZeRO-3) one of {type(base).__name__}. Keep the adapter unmerged, export it with "
                "`hra.to_lora`, or merge it into the base model loaded without quantisation and sharding."
            )
        if (found := not_a_parameter(self)) is not None:
            raise TypeError(f"HRA cannot merge into {self.path or base}: {found}, or keep the adapter unmerged.")
        weight: torch.Tensor = base.weight.data
        return weight

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Merge adapters into the base weight: W D = W - (W B) Vᵀ; O(out n r).

        A weight narrower than float32 cannot be restored by arithmetic, so a copy of it is kept until `unmerge`.
        Raises ValueError if `safe_merge` is set and the result is not finite; TypeError if the base layer is quantised,
        sharded by FSDP or ZeRO-3 or the layer of another adapter, or computes its weight.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.hra_u]
        if not names:
            return
        weight = self._writable_weight()
        with torch.no_grad():
            factors = self.get_factors(names)
            wide = weight.dtype == torch.promote_types(weight.dtype, factors[0].dtype)
            merged = _multiply(weight, factors, in_place=wide and not safe_merge)
            if safe_merge and not torch.isfinite(merged).all():
                raise ValueError(
                    f"NaNs detected in the merged weights. The adapter {', '.join(names)} seems to be broken"
                )
            if not wide and self._weight_before_merge is None:
                self._weight_before_merge = weight
            self.get_base_layer().weight.data = merged
            if self._merged_factors is not None:
                factors = compose(self._merged_factors, factors)
            V, B = factors
            self._merged_factors = V.clone(), B  # V may be the parameter itself
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Undo all merges: restore the kept weight or, for float32 and wider, compute W Dᵀ.

        It uses the merged D, even if `hra_u` has changed since. Raises TypeError under FSDP and ZeRO-3.
        """
        if self._merged_factors is None:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        weight = self._writable_weight()
        if self._weight_before_merge is not None:
            self.get_base_layer().weight.data = self._weight_before_merge.to(weight.device, weight.dtype)
        else:
            V, B = (factor.to(weight.device) for factor in self._merged_factors)
            self.get_base_layer().weight.data = _multiply(weight, (B, V), in_place=True)
        self._merged_factors = self._weight_before_merge = None
        self.merged_adapters.clear()


def not_a_parameter(layer: Any) -> str | None:
    """Return why a layer does not use a parameter of the base model as its weight, with the fix; None: it does."""
    if isinstance(layer.base_layer, BaseTunerLayer):
        return (
            "expected a layer of the base model, found one with another adapter "
            f"({type(layer.base_layer).__module__}), which H also rotates. Merge that adapter into the base model "
            "(`merge_and_unload`) before you add HRA"
        )
    base = layer.get_base_layer()
    if is_plain(getattr(base, "weight", None)) and "weight" not in dict(base.named_parameters(recurse=False)):
        return (
            "expected a weight that is a parameter, found one that hooks or parametrizations compute. Make it a "
            "parameter first (`parametrize.remove_parametrizations`, `remove_spectral_norm`, `remove_weight_norm`, "
            "`prune.remove`)"
        )
    return None


def _multiply(weight: torch.Tensor, factors: Factors, in_place: bool) -> torch.Tensor:
    """Return W D for W (out, ...) and D = I - B Vᵀ, a rank-r update by blocks of rows, rounded once."""
    new = weight if in_place else torch.empty_like(weight)
    V, B = (exact(factor) for factor in factors)
    with torch.autocast(weight.device.type, enabled=False):
        for rows, out in zip(weight.split(ROWS), new.split(ROWS), strict=True):
            wide = rows.to(V.dtype, copy=True).flatten(1)
            out.copy_(wide.addmm_(thin(wide, B), V.mT, alpha=-1).view(rows.shape))
    return new
