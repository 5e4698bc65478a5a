"""An adapted linear layer with a frozen weight as one autograd function: z = diag(1 + δ) H_L W H_R x + b."""

from typing import Any

import torch
from torch.nn.functional import linear as plain_linear

from .outputs import product_with, rotate, rotation_gradients, scale, scale_gradients
from .reflections import thin
from .side import Parts


def linear(
    x: torch.Tensor,
    W: torch.Tensor,
    b: torch.Tensor | None,
    inputs: Parts,
    outputs: Parts = (),
    delta: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute z (..., out) for x (..., n), W (out, n) and b (out,), all in one dtype, which is that of z.

    inputs, outputs: V and B, or U, U and T, of H_R and H_L. delta: (out,). Without them, H_L = I and δ = 0.
    """
    V, B, T = inputs if len(inputs) == 3 else (*inputs, None)
    VL, BL, TL = outputs if len(outputs) == 3 else (*outputs, None) if outputs else (None, None, None)
    arguments = x, W, b, V, B, T, VL, BL, TL, delta
    z: torch.Tensor = _Linear.apply(*arguments) if torch.is_grad_enabled() else _forward(*arguments)[0]
    return z


def _forward(
    x: torch.Tensor, W: torch.Tensor, b: Any, V: Any, B: Any, T: Any, VL: Any, BL: Any, TL: Any, delta: Any
) -> tuple[Any, ...]:
    """Compute z, the products P = x V and P_L of H_R and H_L, and H_L W H_R x + b if anything follows W."""
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    P, PL, turned = thin(rows, V), None, None
    z = plain_linear(torch.addmm(rows, P if T is None else P @ T.mT, B.mT, alpha=-1), W, b)
    if VL is not None:
        PL = product_with(VL, z, b)
        z = torch.addmm(z, PL if TL is None else PL @ TL.mT, BL.mT, alpha=-1)
    if delta is not None:
        z, turned = scale(z, delta, b), z
    if x.dim() != 2:
        z = torch.ops.aten._unsafe_view(z, [*x.shape[:-1], W.shape[0]])  # a view could not be modified in place
    return z, P, PL, z if turned is None and PL is not None else turned


class _Linear(torch.autograd.Function):
    """Saves x and what `_forward` returns."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
        z, *rest = _forward(*arguments)
        ctx.save_for_backward(*arguments, *rest)
        return z

    @staticmethod
    def backward(ctx: Any, gz: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *arguments, P, PL, turned = ctx.saved_tensors
        x, W, b, V, B, T, VL, BL, TL, delta = arguments
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a gradient of this gradient may be computed
            return _differentiable(arguments, gz, needed)
        shape = x.shape
        if x.dim() != 2:
            x, gz = x.reshape(-1, shape[-1]), gz.reshape(-1, gz.shape[-1])
            turned = None if turned is None else turned.view(gz.shape)
        gx = gV = gB = gT = gVL = gBL = gTL = gdelta = None
        gb = gz.sum(0) if needed[2] else None
        if delta is not None:
            gz, gdelta, _ = scale_gradients(gz, turned, delta, b, (True, needed[9], False))
        if VL is not None:
            gz, gVL, gBL, _, gTL = rotation_gradients(gz, turned, VL, BL, PL, b, TL, (True, *needed[6:8], False))
        gy, gQ = None, None
        if needed[0]:
            gy = gz @ W
            gQ = thin(gy, B)  # minus the gradient of Q = P Tᵀ
        elif needed[3]:  # without gy (N, n)
            gQ = thin(gz, (B.mT @ W.mT).mT)
        if gQ is not None:
            Q, gP = (P, gQ) if T is None else (P @ T.mT, gQ @ T)
            # With beta = 0, minus a product in one operation.
            if needed[3]:
                gV = torch.addmm(V.mT, gP.mT, x, beta=0, alpha=-1).mT
            if needed[4]:
                gB = torch.addmm(B.mT, *((Q.mT, gy) if gy is not None else (Q.mT @ gz, W)), beta=0, alpha=-1).mT
            if T is not None and needed[5]:
                gT = -(gQ.mT @ P)
            if gy is not None:
                gx = gy.addmm_(gP, V.mT, alpha=-1).view(shape)
        return gx, None, gb, gV, gB, gT, gVL, gBL, gTL, gdelta


def _differentiable(arguments: Any, gz: torch.Tensor, needed: Any) -> tuple[torch.Tensor | None, ...]:
    """Compute the gradients by the plain formula, which autograd can differentiate again."""
    # Views: one argument may be computed from another, as T from U.
    arguments = [None if one is None else one.view_as(one) for one in arguments]
    x, W, b, V, B, T, VL, BL, TL, delta = arguments
    P = x @ V if T is None else x @ V @ T.mT
    z = plain_linear(x - P @ B.mT, W, b).view(-1, len(W))
    if VL is not None:
        z = rotate(z, VL, BL, b, TL)
    if delta is not None:
        z = scale(z, delta, b)
    indices = [i for i, one in enumerate(needed) if one]
    found = torch.autograd.grad(z, [arguments[i] for i in indices], gz.reshape(z.shape), create_graph=True)
    gradients = dict(zip(indices, found, strict=True))
    return tuple(gradients.get(i) for i in range(len(arguments)))
