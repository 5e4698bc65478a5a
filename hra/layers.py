"""HRA layers: Linear rotates its input and calls the base layer as a black box; Conv2d adds two thin convolutions."""

import math
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.hra.config import HRAConfig
from torch import nn
from torch.overrides import TorchFunctionMode

from .bank import Factors
from .base_layer import HRALayer, Rotations
from .chain import Parts
from .fused import linear
from .quantized import is_cast_by_hooks, is_plain
from .reflections import cast, reflect
from .torch_internals import is_transformed


class Linear(HRALayer):
    """Compute z = W H x + b (Eq. 2) as `base_layer(reflect(x, V, B))`, an additional O(N n r) for N rows.

    With a frozen weight, `fused.linear` computes all of it, unless the base layer has hooks or another `forward`, which
    get H x, or PyTorch compiles, transforms or traces the operations.
    """

    def forward(
        self, x: torch.Tensor, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Return z = W H x + b.

        x: (..., n). Other arguments are passed to the base layer. adapter_names: one adapter's name, or "__base__", for
        each x[i]. Returns (..., out) in x's dtype; under autocast, in the output dtype of the base layer. Raises
        ValueError if an adapter is merged or the number of `adapter_names` is not the length of x.
        """
        base: Any = self._modules["base_layer"]  # an attribute takes ten times as long
        dtype, base_dtype, out_dtype = self._working_dtypes(x)
        plain = not (args or kwargs) and adapter_names is None and dtype == base_dtype
        if plain and (z := self._fused(x, dtype)) is not None:
            return z if out_dtype in (None, z.dtype) else z.to(out_dtype)
        rotations = self._rotations(x, adapter_names, dtype)
        if not rotations:
            return base(x, *args, **kwargs)
        if x.dtype != dtype:
            x = x.to(dtype)
        for rows, factors in rotations:
            if rows is None:
                x = reflect(x, *factors)
            else:
                x = x.index_copy(0, rows, reflect(x[rows], *factors))
        if dtype != base_dtype:
            x = x.to(base_dtype)
        z = base(x, *args, **kwargs)
        return z if out_dtype in (None, z.dtype) else z.to(out_dtype)

    def _fused(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
        """Compute z in one autograd function; None: the base layer is not just an `nn.Linear` with a frozen weight."""
        if self.merged or self.disable_adapters or not torch.is_grad_enabled():
            return None
        if not self._base_is_just(nn.Linear):
            return None
        if torch.compiler.is_compiling() or is_transformed():
            return None
        base: Any = self._modules["base_layer"]
        W, b = base._parameters.get("weight"), base._parameters.get("bias")
        if not is_plain(W) or W.requires_grad:
            return None
        if (parts := self.chain.prepared(self.active_adapters, dtype)) is None:
            return None
        if W.dtype != dtype:  # under autocast
            W, b = W.to(dtype), None if b is None else b.to(dtype)
        return linear(x if x.dtype == dtype else x.to(dtype), W, b, parts)


class Conv2d(HRALayer):
    """Compute z = W H p + b for every patch p (n = C kh kw, in the order of `weight.view(out, -1)`).

    W H p = W p - (W B)(Vᵀp): the base layer's output is corrected by a convolution with the r kernels
    Vᵀ (r, C, kh, kw), with the base layer's stride, padding and dilation, followed by a 1 x 1
    convolution with W B (out, r). If the base layer has hooks or another `forward`, this happens within its call.
    With groups, C is the number of channels of one group, and all groups share H, so that W H is the weight of a
    grouped convolution.
    """

    @property
    def n(self) -> int:
        """Return the size of a patch, C kh kw."""
        base = self.get_base_layer()
        return self.in_features // base.groups * math.prod(base.kernel_size)

    def update_layer(self, adapter_name: str, r: int, config: HRAConfig, **kwargs: Any) -> None:
        """Add an adapter like `HRALayer.update_layer`. Raises TypeError for a quantised convolution."""
        base = self.get_base_layer()
        if self.get_base_dtype() is None and not is_cast_by_hooks(base):
            raise TypeError(f"HRA on a convolution: expected a plain floating-point weight, found {base}")
        super().update_layer(adapter_name, r, config, **kwargs)

    def forward(
        self, x: torch.Tensor, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Return z = W H p + b for every patch p.

        x: (N, channels, h, w) or (channels, h, w). Returns the base layer's output shape, (..., out, h', w'). Other
        arguments, dtypes and errors are those of `Linear.forward`. Raises TypeError if the base layer has hooks or
        another `forward` and its call is not one convolution with its weight.
        """
        _, dtype, out_dtype = self._working_dtypes(x)
        base: Any = self.base_layer
        rotations = self._rotations(x, adapter_names, dtype)
        if not rotations:
            return base(x, *args, **kwargs)
        x = x.to(dtype)
        if not self._base_is_just(nn.Conv2d):
            z = self._corrected_within(rotations, x, *args, **kwargs)
        else:
            z = self._correct(base(x, *args, **kwargs), rotations, x, base.weight, self._convolve)
        return z.to(out_dtype)

    def _convolve(self, x: torch.Tensor, kernels: torch.Tensor, bias: None) -> torch.Tensor:
        """Convolve with the base layer's settings and the r `kernels` (r, C, kh, kw).

        On a CPU, oneDNN computes few output channels slowly. There, all kernels' columns are first multiplied with x,
        and the rows of the product are then shifted and summed: in training this takes a third less time for r = 8,
        and saves none for r = 32.
        """
        base: Any = self.base_layer
        padding, reach = base.padding, [d * (k - 1) for d, k in zip(base.dilation, base.kernel_size, strict=True)]
        if (
            not (x.is_cpu and torch.is_grad_enabled())
            or torch.compiler.is_compiling()
            or is_transformed()
            or base.groups > 1
            or x.dtype not in (torch.float32, torch.float64)
            or not (x.dim() == 4 and x.is_contiguous())
            or len(kernels) >= 16
            or base.stride != (1, 1)
            or base.padding_mode != "zeros"
            or isinstance(padding, str)
            or any(p > r for p, r in zip(padding, reach, strict=True))
        ):
            # PyTorch's own method with a different weight also handles padding modes and "same".
            return base._conv_forward(x, kernels, bias)
        columns = kernels.flip(2, 3).movedim(1, 3).flatten(0, 2)
        rows = torch.bmm(columns.expand(len(x), -1, -1), x.flatten(2))
        size = tuple(side + 2 * p - r for side, p, r in zip(x.shape[2:], padding, reach, strict=True))
        cut = tuple(r - p for p, r in zip(padding, reach, strict=True))
        return nn.functional.fold(rows, size, base.kernel_size, base.dilation, cut)

    def _correct(
        self, z: torch.Tensor, rotations: Rotations, x: torch.Tensor, weight: torch.Tensor, convolve: Callable[..., Any]
    ) -> torch.Tensor:
        """Compute z - (W B)(Vᵀ p) for every patch p of x; `convolve(x, kernels, bias)` is the base layer's."""
        groups = self.get_base_layer().groups
        for rows, factors in rotations:
            # Not kept between calls: comparing W with a copy would take as long as computing W B, and twice the memory.
            V, WB = _thin_weights(weight, factors, x.dtype)
            kernels = V.t().reshape(-1, *weight.shape[1:])
            if groups > 1:
                kernels = kernels.repeat(groups, 1, 1, 1)
            if rows is None:
                z = _subtract(z, WB, convolve(x, kernels, None), groups)
            else:
                z = z.index_copy(0, rows, _subtract(z[rows], WB, convolve(x[rows], kernels, None), groups))
        return z

    def _corrected_within(self, rotations: Rotations, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Call the base layer and correct the convolution in it, with that convolution's input and weight.

        If hooks or parametrizations compute these, they are known only there, and other hooks see the corrected output.
        Raises TypeError unless the call has exactly one convolution with a weight of this shape.
        """
        shape, count = self.get_base_layer().weight.shape, 0

        def corrected(x: torch.Tensor, weight: torch.Tensor, bias: Any = None, *how: Any, **more: Any) -> torch.Tensor:
            nonlocal count
            z = torch.conv2d(x, weight, bias, *how, **more)
            if weight.shape != shape:
                return z
            count += 1
            return self._correct(z, rotations, x, weight, lambda *given: torch.conv2d(*given, *how, **more))

        with _Instead(torch.conv2d, corrected):
            z = self.base_layer(x, *args, **kwargs)
        if count != 1:
            raise TypeError(
                f"HRA cannot adapt {self.path}: expected a call of {type(self.base_layer).__name__} to be one "
                f"convolution with its weight, found {count}. Exclude the layer with `exclude_modules`."
            )
        return z


def _thin_weights(weight: torch.Tensor, factors: Parts, dtype: torch.dtype) -> Factors:
    """Compute V (n, r) and W B (out, r) of W D = W - (W B) Vᵀ in float32 or wider."""
    V, B, *middle = factors
    weight = weight.flatten(1)
    wide = torch.promote_types(weight.dtype, B.dtype)
    with torch.autocast(weight.device.type, enabled=False):
        # Bᵀ Wᵀ with Bᵀ contiguous, and its gradient gᵀ W, are twice as fast in BLAS as W B and Wᵀ g.
        Bt = B.to(wide).t().contiguous()
        WB = (Bt @ weight.to(wide).t()).t()
        for T in middle:
            V, WB = Bt.t(), WB @ T.to(wide)
    return cast(V, WB, dtype)


def _subtract(z: torch.Tensor, WB: torch.Tensor, P: torch.Tensor, groups: int) -> torch.Tensor:
    """Compute z - (W B) P at every position, for z (N, out, h, w), W B (out, r) and P (N, groups r, h, w)."""
    if z.dim() == 4 and z.is_contiguous() and groups == 1:  # fuses the 1 x 1 convolution and the sum
        return torch.baddbmm(z.flatten(2), WB.expand(len(z), -1, -1), P.flatten(2), alpha=-1).view(z.shape)
    return z - nn.functional.conv2d(P, WB[:, :, None, None], groups=groups)


class _Instead(TorchFunctionMode):
    """Calls another function instead of one of torch's."""

    def __init__(self, function: Callable[..., Any], other: Callable[..., Any]) -> None:
        super().__init__()
        self.function, self.other = function, other

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self.other if function is self.function else function)(*args, **(kwargs or {}))
