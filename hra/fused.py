"""An adapted linear layer with a frozen weight as one autograd function: z = H_L W H_R x + b."""

from typing import Any

import torch
from torch.nn.functional import linear as plain_linear

from .outputs import change, change_gradients
from .reflections import thin
from .side import Parts

# With this many rows per reflection, y is not saved: W (n, r) takes less than 1 % of the step more than yᵀ (N, r).
ROWS = 128


def linear(
    x: torch.Tensor,
    W: torch.Tensor,
    b: torch.Tensor | None,
    inputs: Parts,
    outputs: Parts = (),
) -> torch.Tensor:
    """Compute z (..., out) for x (..., n), W (out, n) and b (out,), all in one dtype, which is that of z.

    inputs, outputs: V and B, or U, U and T, of H_R and H_L. Without the latter, H_L = I.
    """
    V, B, T = inputs if len(inputs) == 3 else (*inputs, None)
    VL, BL, TL = outputs if len(outputs) == 3 else (*outputs, None) if outputs else (None, None, None)
    arguments = x, W, b, V, B, T, VL, BL, TL
    z: torch.Tensor = _Linear.apply(*arguments) if torch.is_grad_enabled() else _forward(*arguments)[0]
    return z


def _forward(
    x: torch.Tensor, W: torch.Tensor, b: Any, V: Any, B: Any, T: Any, *outputs: Any
) -> tuple[torch.Tensor, Any, Any, Any]:
    """Compute z, P = x V, y = W H_R x + b (N, out) if it has to be saved, and P_L of `outputs.change`."""
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    P = thin(rows, V)
    z, y, PL = plain_linear(torch.addmm(rows, P if T is None else P @ T.mT, B.mT, alpha=-1), W, b), None, None
    if outputs[0] is not None:
        y, (z, PL) = z, change(z, b, *outputs)
        if len(rows) >= ROWS * outputs[0].shape[1]:
            y = None
    if x.dim() != 2:
        z = torch.ops.aten._unsafe_view(z, [*x.shape[:-1], W.shape[0]])  # a view could not be changed in place
    return z, P, y, PL


class _Linear(torch.autograd.Function):
    """Saves x, the thin products, and y for few rows."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
        z, *products = _forward(*arguments)
        ctx.save_for_backward(*arguments, *products)
        return z

    @staticmethod
    def backward(ctx: Any, gz: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *arguments, P, y, PL = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be computed, and depends on theirs
            _, P, y, PL = _forward(*arguments)
        x, W, b, V, B, T, *outputs = arguments
        needed, rows = ctx.needs_input_grad, gz.reshape(-1, gz.shape[-1])
        gradients: list[Any] = [None] * 3
        gb = rows.sum(0) if needed[2] else None
        gx = gV = gB = gT = gy = gQ = None
        x2, Q = x.reshape(-1, x.shape[-1]), P if T is None else P @ T.mT
        if PL is not None:
            rows, _, *gradients = change_gradients(rows, PL, (True, False, *needed[6:]), y, b, *outputs)
            if y is None:  # (y - b)ᵀ ∂P_L = W (x - Q Bᵀ)ᵀ ∂P_L
                gPt = gradients[0].mT
                gradients[0] = -(torch.addmm(gPt @ x2, gPt @ Q, B.mT, alpha=-1) @ W.mT).mT if needed[6] else None
        if needed[0]:
            gy = rows @ W
            gQ = thin(gy, B)  # minus the gradient of Q = P Tᵀ
        elif needed[3]:  # without gy (N, n)
            gQ = thin(rows, (B.mT @ W.mT).mT)
        if gQ is not None:
            gP = gQ if T is None else gQ @ T
            # With beta = 0, minus a product in one operation.
            if needed[3]:
                gV = torch.addmm(V.mT, gP.mT, x2, beta=0, alpha=-1).mT
            if needed[4]:
                gB = torch.addmm(B.mT, *((Q.mT @ rows, W) if gy is None else (Q.mT, gy)), beta=0, alpha=-1).mT
            if needed[5]:
                gT = -(gQ.mT @ P)
            if gy is not None:
                gx = torch.addmm(gy, gP, V.mT, alpha=-1).view(x.shape)
        return gx, None, gb, gV, gB, gT, *gradients
