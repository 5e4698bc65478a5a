"""HRA layers: Linear rotates its input and calls the base layer as a black box; Conv2d adds two thin convolutions."""

from __future__ import annotations

import math
from typing import Any

import torch
from peft.tuners.hra.config import HRAConfig
from torch import nn

from .bank import Factors
from .base_layer import HRALayer
from .reflections import reflect


class Linear(HRALayer):
    """Compute z = W H x + b (Eq. 2) as `base_layer(reflect(x, V, B))`, an additional O(N n r) for N rows.

    Where x needs no gradient (in the first layer of a network) it computes W x + b - (W B)(Vᵀx) instead, which saves
    the backward pass through W, O(N n out). x: (..., n). Returns (..., out) in x's dtype; under autocast, in the output
    dtype of the base layer.
    """

    def forward(
        self, x: torch.Tensor, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        dtype, base_dtype, out_dtype = self._working_dtypes(x)
        if adapter_names is None and self._gains_from_output_side(x):
            x = x.to(base_dtype)
            z = self.base_layer(x, *args, **kwargs)
            # Under autocast the other layers' factors are narrower: not worth a second computation for all of them.
            factors = self._factors(self.active_adapters, None, shared=x.dtype == self.base_layer.weight.dtype)
            V, WB = self._thin_weights(factors, x.dtype)
            z = torch.addmm(z.reshape(-1, z.shape[-1]), x.reshape(-1, self.n) @ V, WB.mT, alpha=-1).view(z.shape)
            return z.to(out_dtype)
        rotations = self._rotations(x, adapter_names, dtype)
        if not rotations:
            return self.base_layer(x, *args, **kwargs)
        x = x.to(dtype)
        for rows, (V, B) in rotations:
            if rows is None:
                x = reflect(x, V, B)
            else:
                x = x.index_copy(0, rows, reflect(x[rows], V, B))
        return self.base_layer(x.to(base_dtype), *args, **kwargs).to(out_dtype)

    def _gains_from_output_side(self, x: torch.Tensor) -> bool:
        if x.requires_grad or not torch.is_grad_enabled() or self.disable_adapters or self.merged:
            return False
        us = [self.hra_u[name] for name in self.active_adapters if name in self.hra_u]
        base = self.base_layer
        # Only if the weight can be used directly, without a wider copy.
        return (
            any(u.requires_grad for u in us)
            and type(base) is nn.Linear
            and all(self.get_base_dtype() == torch.promote_types(u.dtype, torch.float32) for u in us)
            and not base.weight.requires_grad
        )


class Conv2d(HRALayer):
    """Compute z = W H p + b for every patch p (n = C kh kw, in the order of `weight.view(out, -1)`).

    W H p = W p - (W B)(Vᵀp): the base layer's output is corrected by a convolution with the r kernels
    Vᵀ (r, C, kh, kw), with the base layer's stride, padding and dilation, followed by a 1 x 1
    convolution with W B (out, r). x: (N, C, h, w) or (C, h, w). Returns the base layer's output shape;
    dtypes as in Linear.
    """

    @property
    def n(self) -> int:
        return self.in_features * math.prod(self.get_base_layer().kernel_size)

    def update_layer(self, adapter_name: str, r: int, config: HRAConfig, **kwargs: Any) -> None:
        """Add an adapter like `HRALayer.update_layer`.

        Raises NotImplementedError for a grouped convolution, TypeError for a quantised one.
        """
        base = self.get_base_layer()
        if base.groups > 1:
            raise NotImplementedError(
                f"HRA does not support {type(base).__name__} layers with groups > 1 (found "
                f"groups={base.groups}): its rotation mixes all input channels. Exclude the layer "
                "with `exclude_modules`."
            )
        if self.get_base_dtype() is None:
            raise TypeError(f"HRA on a convolution: expected a plain floating-point weight, found {base}")
        super().update_layer(adapter_name, r, config, **kwargs)

    def forward(
        self, x: torch.Tensor, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        _, dtype, out_dtype = self._working_dtypes(x)
        rotations = self._rotations(x, adapter_names, dtype)
        if not rotations:
            return self.base_layer(x, *args, **kwargs)
        x = x.to(dtype)
        z = self.base_layer(x, *args, **kwargs)
        for rows, factors in rotations:
            if rows is None:
                z = self._correct(z, x, factors)
            else:
                z = z.index_copy(0, rows, self._correct(z[rows], x[rows], factors))
        return z.to(out_dtype)

    def _correct(self, z: torch.Tensor, x: torch.Tensor, factors: Factors) -> torch.Tensor:
        """Compute z - (W B)(Vᵀ p) for every patch p of x, with the r kernels Vᵀ (r, C, kh, kw)."""
        # Not kept between calls: comparing W with a copy would take as long as computing W B, and twice the memory.
        base = self.get_base_layer()
        V, WB = self._thin_weights(factors, x.dtype)
        # PyTorch's own method with a different weight also handles padding modes and "same".
        P = base._conv_forward(x, V.mT.reshape(-1, *base.weight.shape[1:]), None)
        if z.dim() == 4 and z.is_contiguous():  # fuses the 1 x 1 convolution and the sum
            return torch.baddbmm(z.flatten(2), WB.expand(len(z), -1, -1), P.flatten(2), alpha=-1).view(z.shape)
        return z - nn.functional.conv2d(P, WB[:, :, None, None])
