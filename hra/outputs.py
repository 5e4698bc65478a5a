"""The output side of a layer, which the paper does not have: rotations of W's columns.

`HRAConfig(two_sided=True)` adapts W (out, n) to W' = H_L W H_R with two products of r reflections, H_R of the inputs
and H_L of the outputs. H_L = I - B Vᵀ, or I - B T Vᵀ, acts on the outputs y without the bias b, which does not change:
z = H_L (y - b) + b.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .bank import Factors
from .reflections import cast, thin
from .side import Parts, Side
from .torch_internals import is_transformed


class Outputs:
    """The methods of `base_layer.HRALayer` that change its base layer's outputs."""

    if TYPE_CHECKING:  # defined by HRALayer
        path: str
        out_features: int
        outputs: Side
        hra_u_out: Any
        merged: bool
        disable_adapters: bool
        active_adapters: list[str]
        _merged_outputs: Factors | None

        def get_base_layer(self) -> Any: ...  # noqa: D102

    def get_output_factors(self, adapter_names: list[str]) -> Factors | None:
        """Return V and B (out, r) of H_L, the product … H_2 H_1 of those adapters that have one; None: none has.

        They are float32 or wider, and differentiable.
        """
        names = [name for name in adapter_names[::-1] if name in self.hra_u_out]
        return self.outputs.product(names) if names else None

    def _change_outputs(
        self, z: torch.Tensor, adapter_names: list[str] | None, dtype: torch.dtype | None
    ) -> torch.Tensor:
        """Apply H_L to the base layer's outputs z, in `dtype` (None: z's)."""
        if self.disable_adapters and not self.merged:
            return z
        if dtype is not None and z.dtype != dtype:
            z = z.to(dtype)
        dtype = z.dtype
        if self.merged:  # and disabled: the base model's outputs are those of the merged weight, changed back
            if self._merged_outputs is None or not self.disable_adapters:
                return z
            V, B = (one.to(z.device) for one in self._merged_outputs)
            return self._apply_outputs(z, (B, V))
        if adapter_names is None:
            parts = self.outputs.prepared(self.active_adapters[::-1], dtype)
            return z if parts is None else self._apply_outputs(z, parts)
        for name in dict.fromkeys(adapter_names):
            if (parts := self.outputs.prepared([name], dtype)) is not None:
                rows = torch.tensor([i for i, other in enumerate(adapter_names) if other == name], device=z.device)
                z = z.index_copy(0, rows, self._apply_outputs(z[rows], parts))
        return z

    def _bias(self) -> torch.Tensor | None:
        """Return the base layer's bias (out,), which its hooks may have offloaded or sharded after its call.

        Raises TypeError if it is not in this process, or trained and sharded.
        """
        base = self.get_base_layer()
        bias: Any = base.bias
        if bias is not None and bias.is_meta and (hook := getattr(base, "_hf_hook", None)) is not None:
            bias = hook.weights_map["bias"]  # loading all of the layer again would take as long as its call
        elif hasattr(bias, "placements") and not bias.requires_grad:
            bias = bias.full_tensor()
        if bias is not None and (hasattr(bias, "placements") or bias.numel() != self.out_features):
            raise TypeError(
                f"HRA on {self.path} with `two_sided`: expected its bias in this process, found it "
                "sharded after the layer's call. Shard only modules that contain the adapted layer (FSDP: transformer "
                "blocks)."
            )
        return bias

    def _apply_outputs(self, z: torch.Tensor, parts: Parts) -> torch.Tensor:
        return apply(z, self._bias(), *parts)


def apply(z: torch.Tensor, bias: torch.Tensor | None, V: Any, B: Any, T: Any = None) -> torch.Tensor:
    """Apply H_L to the outputs z (..., out) of a layer with this bias (out,), in z's dtype."""
    bias = None if bias is None else bias.to(z.device, z.dtype)
    rows = z.reshape(-1, z.shape[-1])
    V, B = cast(V, B, z.dtype)
    if torch.is_grad_enabled() and not (torch.compiler.is_compiling() or is_transformed()):
        rows = _Change.apply(rows, bias, V, B, T)
    else:
        rows, _ = change(rows, bias, V, B, T)
    return rows.view_as(z)


def apply_to_channels(z: torch.Tensor, parts: Parts, bias: torch.Tensor | None, groups: int) -> torch.Tensor:
    """Apply H_L to the channels of z (..., out, h, w); the `groups` of a convolution share H_L (out / groups)."""
    channels = z.unflatten(-3, (groups, -1)).flatten(-2)  # (..., groups, out / groups, h w)
    if bias is not None:
        bias = bias.to(z.device, z.dtype).view(groups, -1, 1)
    before = channels if bias is None else channels - bias
    V, B, *T = parts
    V, B = cast(V, B, z.dtype)
    P = V.mT @ before
    for one in T:
        P = one @ P
    return (channels - B @ P).reshape(z.shape)


def change(y: torch.Tensor, bias: Any, V: Any, B: Any, T: Any) -> tuple[torch.Tensor, Any]:
    """Compute H_L (y - b) + b for each row of y (N, out), and P = (y - b) V (N, r)."""
    P = thin(y, V)
    if bias is not None:
        P = P - V.mT @ bias  # `bias @ V` changes its result in place, which selective checkpointing may have saved
    return torch.addmm(y, P if T is None else P @ T.mT, B.mT, alpha=-1), P


def change_gradients(
    gz: torch.Tensor, P: Any, needed: Sequence[bool], y: Any, bias: Any, V: Any, B: Any, T: Any
) -> tuple[Any, ...]:
    """Compute the gradients of y, b, V, B and T from that of z = H_L (y - b) + b, if they are `needed`.

    Without y, that of V is replaced with minus that of P.
    """
    gb = gV = gB = gT = None
    if needed[3]:
        # With beta = 0, minus a product in one operation.
        gB = torch.addmm(B.mT, (P if T is None else P @ T.mT).mT, gz, beta=0, alpha=-1).mT
    gP = gQ = thin(gz, B)  # minus the gradients of P and of Q = P Tᵀ
    if T is not None:
        gP, gT = gQ @ T, -(gQ.mT @ P)
    if y is None:
        gV = gP
    elif needed[2]:
        gV = torch.addmm(V.mT, gP.mT, y, beta=0, alpha=-1).mT
        if bias is not None:
            gV = gV + torch.outer(bias, gP.sum(0))
    g = torch.addmm(gz, gP, V.mT, alpha=-1)
    if needed[1]:
        gb = gz.sum(0) - g.sum(0)
    return g, gb, gV, gB, gT


class _Change(torch.autograd.Function):
    """`change`, which saves y and P, and not its result, which may be changed in place."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
        z, P = change(*arguments)
        ctx.save_for_backward(*arguments, P)
        return z

    @staticmethod
    def backward(ctx: Any, gz: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *arguments, P = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be computed, and depends on P's
            _, P = change(*arguments)
        return change_gradients(gz, P, ctx.needs_input_grad, *arguments)
