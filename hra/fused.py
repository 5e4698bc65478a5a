"""An adapted linear layer with a frozen weight as one autograd function: z = W H x + b."""

from typing import Any

import torch
from torch.nn.functional import linear as plain_linear

from .chain import Parts
from .reflections import thin


def linear(x: torch.Tensor, W: torch.Tensor, b: torch.Tensor | None, parts: Parts) -> torch.Tensor:
    """Compute z (..., out) for x (..., n), W (out, n) and b (out,), all in one dtype, which is that of z.

    parts: V and B, or U, U and T, of H.
    """
    V, B, T = parts if len(parts) == 3 else (*parts, None)
    z: torch.Tensor = _Linear.apply(x, W, b, V, B, T)
    return z


class _Linear(torch.autograd.Function):
    """Saves x and P = x V."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, W: torch.Tensor, b: Any, V: Any, B: Any, T: Any) -> torch.Tensor:
        rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
        P = thin(rows, V)
        z = plain_linear(torch.addmm(rows, P if T is None else P @ T.mT, B.mT, alpha=-1), W, b)
        ctx.save_for_backward(x, W, V, B, T, P)
        if x.dim() != 2:
            z = torch.ops.aten._unsafe_view(z, [*x.shape[:-1], W.shape[0]])  # a view could not be changed in place
        return z

    @staticmethod
    def backward(ctx: Any, gz: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, W, V, B, T, P = ctx.saved_tensors
        needed, rows, x2 = ctx.needs_input_grad, gz.reshape(-1, gz.shape[-1]), x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled():  # a gradient of this gradient may be computed, and depends on P's
            P = thin(x2, V)
        gb = rows.sum(0) if needed[2] else None
        gx = gV = gB = gT = gy = gQ = None
        if needed[0]:
            gy = rows @ W
            gQ = thin(gy, B)  # minus the gradient of Q = P Tᵀ
        elif needed[3]:  # without gy (N, n)
            gQ = thin(rows, (B.mT @ W.mT).mT)
        if gQ is not None:
            gP, Q = (gQ, P) if T is None else (gQ @ T, P @ T.mT)
            # With beta = 0, minus a product in one operation.
            if needed[3]:
                gV = torch.addmm(V.mT, gP.mT, x2, beta=0, alpha=-1).mT
            if needed[4]:
                gB = torch.addmm(B.mT, *((Q.mT @ rows, W) if gy is None else (Q.mT, gy)), beta=0, alpha=-1).mT
            if needed[5]:
                gT = -(gQ.mT @ P)
            if gy is not None:
                gx = torch.addmm(gy, gP, V.mT, alpha=-1).view(x.shape)
        return gx, None, gb, gV, gB, gT
