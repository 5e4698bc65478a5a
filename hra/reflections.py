"""Chains of Householder reflections in compact form, on plain tensors.

HRA (arXiv 2405.17484, section 3.1, Eqs. 2-3) multiplies a frozen weight W (out, n) on its input
side by

    H = H_1 H_2 ... H_r,    H_i = I - 2 v_i v_iᵀ,    ‖v_i‖ = 1.

With V = [v_1 ... v_r] (n, r) the chain has the compact WY form (Schreiber and Van Loan, 1989)

    H = I - V T Vᵀ,    T⁻¹ = ½ I + striu(VᵀV),    T (r, r) upper triangular,

so everything below works with two thin matrices, V and B = V T, both (n, r), and H = I - B Vᵀ.
No (n, n) matrix is ever built. Where a shape is written (..., n, r) there may be batch dimensions.
"""

from __future__ import annotations

import torch


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def unit_columns(U: torch.Tensor) -> torch.Tensor:
    """Scale each column to length one: v_i = u_i / ‖u_i‖, or 0 for u_i = 0, so that its H_i is I.

    U: (..., n, r) floating point. Returns (..., n, r) in U's dtype, or float32 where that is
    narrower. The gradient through H to a zero column is zero. NaN and infinity come out as NaN.
    """
    U = U.to(_at_least_float32(U.dtype))
    # Squares of float32 overflow above 1e19 and vanish below 1e-23: float64, where there is one.
    wide = U.dtype if U.device.type == "mps" else torch.float64
    norm = torch.linalg.vector_norm(U, dim=-2, keepdim=True, dtype=wide).to(U.dtype)
    return U / torch.where(norm == 0, 1, norm)


def compact(U: torch.Tensor, apply_GS: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the two thin factors of H = I - B Vᵀ.

    The chain (section 3.1, Eq. 3): V the unit columns, B = V T, T⁻¹ = ½ I + striu(VᵀV).
    `apply_GS`, λ = ∞ (section 3.3): V an orthonormal basis of the span of the columns, B = 2 V.

    H = I - 2 V Vᵀ is the same for every basis of the span, Gram-Schmidt's or another. There zero
    and linearly dependent columns add nothing to the span and do no harm; so r may exceed n.

    U: (..., n, r), columns of any length. Returns V and B, both (..., n, r), float32 or wider.
    """
    V = unit_columns(U)
    if apply_GS:
        return _basis(V)
    half = torch.full(V.shape[-1:], 0.5, dtype=V.dtype, device=V.device)
    T_inv = torch.triu(V.mT @ V, 1) + torch.diag(half)
    return V, torch.linalg.solve_triangular(T_inv, V, upper=True, left=False)


def _basis(V: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # VᵀV has the square of V's condition number: take it apart in float64 where there is one.
    W = V if V.device.type == "mps" else V.double()
    eigenvalues, E = torch.linalg.eigh((W.mT @ W).detach())
    rtol = 100 * V.shape[-1] * torch.finfo(W.dtype).eps
    independent = eigenvalues > rtol * eigenvalues[..., -1:]
    # W C has W's span for any fixed C. So C needs no gradient (that of eigh is infinite where
    # eigenvalues coincide, as they do at orthonormal columns), and 2 Q (QᵀQ)⁻¹ Qᵀ with Q = W C has
    # the exact derivatives of every order.
    C = E * torch.where(independent, eigenvalues, torch.inf).rsqrt().unsqueeze(-2)
    Q = W @ C
    gram = Q.mT @ Q + torch.diag_embed((~independent).to(W.dtype))
    return Q.to(V.dtype), (2 * Q @ torch.linalg.inv_ex(gram).inverse).to(V.dtype)


def compose(
    first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Multiply: (I - B₁V₁ᵀ)(I - B₂V₂ᵀ) = I - [B₁, B₂ - B₁(V₁ᵀB₂)] [V₁, V₂]ᵀ.

    The pairs (V, B) are (n, r₁) and (n, r₂). Returns a pair of (n, r₁ + r₂).
    """
    (V1, B1), (V2, B2) = first, second
    return torch.cat([V1, V2], -1), torch.cat([B1, B2 - B1 @ (V1.mT @ B2)], -1)


class _Reflect(torch.autograd.Function):
    """y = x - (x V) Bᵀ for x (N, n); keeps x and P = x V (N, r)."""

    @staticmethod
    def forward(ctx, x, V, B):
        P = x @ V
        # P is an output, not a hidden intermediate, so that gradients of gradients flow through it.
        ctx.save_for_backward(x, V, B, P)
        ctx.set_materialize_grads(False)
        return torch.addmm(x, P, B.mT, alpha=-1), P

    @staticmethod
    def backward(ctx, gy, gP):
        x, V, B, P = ctx.saved_tensors
        gx = gV = gB = None
        if gy is not None:
            gP = -(gy @ B) if gP is None else gP - gy @ B
            if ctx.needs_input_grad[2]:
                gB = -(gy.mT @ P)
        if gP is not None:
            if ctx.needs_input_grad[0]:
                gx = gP @ V.mT if gy is None else torch.addmm(gy, gP, V.mT)
            if ctx.needs_input_grad[1]:
                gV = x.mT @ gP
        return gx, gV, gB


def reflect(x: torch.Tensor, V: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """Apply H = I - B Vᵀ to each row of x: y = x Hᵀ = x - (x V) Bᵀ.

    So z = W H x (Eq. 2) is `linear(reflect(x, V, B), W)`. With the factors swapped the rows meet
    the transpose, which is the inverse: `reflect(x, B, V)` = x H. So W H = `reflect(W, B, V)`.

    x: (..., n); V, B: (n, r), cast to x's dtype. Returns (..., n) in x's dtype, in O(N n r).
    """
    V, B = V.to(x.dtype), B.to(x.dtype)
    rows = x.reshape(-1, x.shape[-1])
    if torch.compiler.is_compiling():  # the compiler fuses the plain formula by itself
        y = torch.addmm(rows, rows @ V, B.mT, alpha=-1)
    else:
        y = _Reflect.apply(rows, V, B)[0]
    return y.view(x.shape)


def orthogonality_error(U: torch.Tensor) -> torch.Tensor:
    """Measure how far the unit columns are from orthonormal: ‖I_r - VᵀV‖_F (Eq. 6 has its square).

    U: (..., n, r). Returns (...,), in [0, r], without unit, float32 or wider.
    """
    V = unit_columns(U)
    eye = torch.eye(V.shape[-1], dtype=V.dtype, device=V.device)
    return torch.linalg.vector_norm(eye - V.mT @ V, dim=(-2, -1))
