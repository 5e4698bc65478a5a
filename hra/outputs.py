"""The output side of a layer: rotations of W's columns and magnitudes of its rows, which the paper does not have.

`HRAConfig(two_sided=True, magnitudes=True)` adapts W (out, n) to

    W' = diag(1 + δ) H_L W H_R

with two products of r reflections, H_R of the inputs and H_L of the outputs, and one δ per output. A step S is one of
these changes of the outputs: (V, B) is H_L = I - B Vᵀ, (V, B, T) is I - B T Vᵀ, and (δ,) is diag(1 + δ). It acts on the
outputs y without the bias b, which does not change: z = S (y - b) + b.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from .reflections import cast, compose, exact, thin
from .side import Side, in_memory
from .torch_internals import is_transformed

Step = tuple[torch.Tensor, ...]
Folded = tuple[torch.Tensor | None, ...]  # V, B and d of `fold`


class Outputs:
    """The methods of `base_layer.HRALayer` that change its base layer's outputs."""

    if TYPE_CHECKING:  # defined by HRALayer
        path: str
        out_features: int
        outputs: Side
        hra_u_out: Any
        hra_magnitudes: Any
        merged: bool
        disable_adapters: bool
        active_adapters: list[str]
        _merged_steps: list[Step]

        def get_base_layer(self) -> Any: ...  # noqa: D102

    def get_steps(self, adapter_names: list[str]) -> list[Step]:
        """Return the steps of those adapters that the layer has, in their order, in float32 or wider."""
        return self._steps(adapter_names, lambda name: self.outputs.product([name]))

    def _steps(self, adapter_names: list[str], factors: Callable[[str], Step | None]) -> list[Step]:
        steps: list[Step] = []
        for name in adapter_names:
            if name in self.hra_u_out and (found := factors(name)) is not None:
                steps.append(found)
            if name in self.hra_magnitudes:
                steps.append(tuple(in_memory(self.hra_magnitudes, [name])))
        return steps

    def _change_outputs(
        self, z: torch.Tensor, adapter_names: list[str] | None, dtype: torch.dtype | None
    ) -> torch.Tensor:
        """Apply the adapters' steps to the base layer's outputs z, in `dtype` (None: z's)."""
        if self.disable_adapters and not self.merged:
            return z
        if dtype is not None and z.dtype != dtype:
            z = z.to(dtype)
        dtype = z.dtype

        if self.merged:  # and disabled: the base model's outputs are those of the merged weight, changed back
            steps = inverse(self._merged_steps) if self.disable_adapters else []
            return self._apply_steps(z, [tuple(one.to(z.device) for one in step) for step in steps])
        prepared = lambda name: self.outputs.prepared([name], dtype)  # noqa: E731 # Dynamo traces no annotations
        if adapter_names is None:
            return self._apply_steps(z, self._steps(self.active_adapters, prepared))
        for name in dict.fromkeys(adapter_names):
            if steps := self._steps([name], prepared):
                rows = torch.tensor([i for i, other in enumerate(adapter_names) if other == name], device=z.device)
                z = z.index_copy(0, rows, self._apply_steps(z[rows], steps))
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
                f"HRA on {self.path} with `two_sided` or `magnitudes`: expected its bias in this process, found it "
                "sharded after the layer's call. Shard only modules that contain the adapted layer (FSDP: transformer "
                "blocks)."
            )
        return bias

    def _apply_steps(self, z: torch.Tensor, steps: list[Step]) -> torch.Tensor:
        bias = self._bias() if steps else None
        for parts in pairs(steps):
            z = apply(z, bias, *parts)
        return z


def pairs(steps: Iterable[Step]) -> Iterator[tuple[Any, ...]]:
    """Yield V, B, T and δ of each rotation and the scale that follows it; None for what is missing."""
    rest = list(steps)
    while rest:
        rotation: Step = rest.pop(0) if len(rest[0]) > 1 else ()
        nothing: list[Any] = [None] * (3 - len(rotation))
        yield *rotation, *nothing, rest.pop(0)[0] if rest and len(rest[0]) == 1 else None


def apply(z: torch.Tensor, bias: torch.Tensor | None, V: Any, B: Any, T: Any, delta: Any) -> torch.Tensor:
    """Apply a rotation and a scale to the outputs z (..., out) of a layer with this bias (out,), in z's dtype."""
    bias = None if bias is None else bias.to(z.device, z.dtype)
    rows = z.reshape(-1, z.shape[-1])
    if V is not None:
        V, B = cast(V, B, z.dtype)
    if delta is not None:
        delta = delta.to(z.dtype)
    if torch.is_grad_enabled() and not (torch.compiler.is_compiling() or is_transformed()):
        rows = _Change.apply(rows, bias, V, B, T, delta)
    else:
        rows, _ = change(rows, bias, V, B, T, delta)
    return rows.view_as(z)


def apply_to_channels(z: torch.Tensor, step: Step, bias: torch.Tensor | None, groups: int) -> torch.Tensor:
    """Apply a step to the channels of z (..., out, h, w); the `groups` of a convolution share H_L (out / groups)."""
    channels = z.unflatten(-3, (groups, -1)).flatten(-2)  # (..., groups, out / groups, h w)
    if bias is not None:
        bias = bias.to(z.device, z.dtype).view(groups, -1, 1)
    before = channels if bias is None else channels - bias
    if len(step) == 1:
        channels = torch.addcmul(channels, before, step[0].to(z.dtype).view(groups, -1, 1))
    else:
        V, B, *T = step
        V, B = cast(V, B, z.dtype)
        P = V.mT @ before
        for one in T:
            P = one @ P
        channels = channels - B @ P
    return channels.reshape(z.shape)


def scale(y: torch.Tensor, delta: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Compute (1 + δ) (y - b) + b for each row of y (N, out); y itself, bit by bit, for δ = 0."""
    # Not y (1 + δ): narrow dtypes would round a small δ away.
    return torch.addcmul(y, y, delta) if bias is None else torch.lerp(y, bias, -delta)


def change(y: torch.Tensor, bias: Any, V: Any, B: Any, T: Any, delta: Any) -> tuple[torch.Tensor, Any]:
    """Compute (1 + δ) H_L (y - b) + b for each row of y (N, out), and P = (y - b) V (N, r) or, without V, None."""
    P = None
    if V is not None:
        P = thin(y, V)
        if bias is not None:
            P = P - V.mT @ bias  # `bias @ V` changes its result in place, which selective checkpointing may have saved
        y = torch.addmm(y, P if T is None else P @ T.mT, B.mT, alpha=-1)
    return y if delta is None else scale(y, delta, bias), P


def change_gradients(
    gz: torch.Tensor, P: Any, needed: Sequence[bool], y: Any, bias: Any, V: Any, B: Any, T: Any, delta: Any
) -> tuple[Any, ...]:
    """Compute the gradients of y, b, V, B, T and δ from that of z = (1 + δ) H_L (y - b) + b, if they are `needed`.

    Without y, which only δ needs, that of V is replaced with minus that of P.
    """
    g = gz
    gb = gV = gT = gdelta = None
    gB: Any = None
    if V is not None and (needed[3] or needed[5]):
        # With beta = 0, minus a product in one operation.
        gB = torch.addmm(B.mT, (P if T is None else P @ T.mT).mT, gz, beta=0, alpha=-1).mT
    if delta is not None:
        if needed[5]:
            gdelta = (gz * y).sum(0)
            if V is not None:
                gdelta = gdelta + (gB * B).sum(1)
            if bias is not None:
                gdelta = gdelta - bias * gz.sum(0)
        g = torch.addcmul(gz, gz, delta)
        if V is not None and needed[3]:
            gB = torch.addcmul(gB, gB, delta[:, None])
    if V is not None:
        gP = gQ = thin(g, B)  # minus the gradients of P and of Q = P Tᵀ
        if T is not None:
            gP, gT = gQ @ T, -(gQ.mT @ P)
        if y is None:
            gV = gP
        elif needed[2]:
            gV = torch.addmm(V.mT, gP.mT, y, beta=0, alpha=-1).mT
            if bias is not None:
                gV = gV + torch.outer(bias, gP.sum(0))
        g = torch.addmm(g, gP, V.mT, alpha=-1)
    if needed[1]:
        gb = gz.sum(0) - g.sum(0)
    return g, gb, gV, gB, gT, gdelta


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


def inverse(steps: Iterable[Step]) -> list[Step]:
    """Return the steps that undo `steps`, of which none has a δ of -1."""
    undone: list[Step] = []
    for step in reversed(list(steps)):
        if len(step) == 1:
            undone.append(((1 + exact(step[0])).reciprocal() - 1,))
        else:
            V, B = step
            undone.append((B, V))
    return undone


def fold(steps: Iterable[Step], groups: int = 1) -> Folded:
    """Compute the product diag(d) (I - B Vᵀ) of all steps in `exact`'s dtype: V and B (groups, out / groups, r), d.

    d: (groups, out / groups). V and B are None without a rotation, d is None without a scale.
    """
    factors: tuple[torch.Tensor, torch.Tensor] | None = None
    d: torch.Tensor | None = None
    for step in steps:
        if len(step) == 1:
            s = 1 + exact(step[0]).view(groups, -1)
            d = s if d is None else d * s
            continue
        V, B = (exact(one).expand(groups, -1, -1) for one in step)
        if d is not None:  # H_L diag(d) = diag(d) (I - (B / d) (d V)ᵀ)
            V, B = V * d[..., None], B / d[..., None]
        factors = (V, B) if factors is None else compose((V, B), factors)
    return *(factors or (None, None)), d
