"""Products of Householder reflections in compact form, on plain tensors.

HRA (arXiv 2405.17484, section 3.1, Eqs. 2-3) multiplies a frozen weight W (out, n) on its input
side by

    H = H_1 H_2 ... H_r,    H_i = I - 2 u_i u_iᵀ / ‖u_i‖².

With U = [u_1 ... u_r] (n, r) the chain has the compact WY form (Schreiber and Van Loan, 1989)

    H = I - U T Uᵀ,    T⁻¹ = ½ diag(UᵀU) + striu(UᵀU),    T (r, r) upper triangular,

so the functions below work with two thin matrices V and B, both (n, r), and H = I - B Vᵀ. They never build an (n, n)
matrix, and the columns need no normalisation: their lengths cancel.

H is orthogonal because T⁻¹ + T⁻ᵀ = UᵀU. Under TF32 (`torch.set_float32_matmul_precision("high")`,
`torch.backends.cuda.matmul.allow_tf32`) a float32 product keeps 10 mantissa bits, and HᵀH differs
from I by 1e-2 at n = 1024, r = 32. Therefore B and T, their gradients, the penalty and the merging
are computed in float64, which is affected neither by those switches nor by autocast, and rounded to
float32 once. The product with the activations, (x V) Bᵀ, follows the switches like any linear layer.
"""

import math
from typing import Any

import torch

from .torch_internals import is_transformed


def exact(U: torch.Tensor) -> torch.Tensor:
    """Cast U to float64, in which no switch reduces the precision of products; on MPS, without float64, return U."""
    return U if U.device.type == "mps" else U.double()


def wide(U: torch.Tensor) -> torch.Tensor:
    """Cast U to float32 unless it is wider."""
    return U.to(torch.promote_types(U.dtype, torch.float32))


def compact(U: torch.Tensor, apply_GS: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute V and B of H = I - B Vᵀ.

    The chain (section 3.1, Eq. 3): V = U, B = U T. A zero column gives H_i = I (in float32, a column
    shorter than 3e-16 counts as zero) and has gradient zero.
    `apply_GS`, λ = ∞ (section 3.3): V = Q, B = 2 Q for an orthonormal basis Q of the columns' span;
    H does not depend on the basis, Gram-Schmidt's or another. Zero and linearly dependent columns
    add nothing to the span, so r may exceed n.

    U: (..., n, r), columns of any length. Returns V and B, of the same shape, in U's dtype or in
    float32 if that is wider. NaN inputs give NaN.
    """
    U = wide(U)
    if apply_GS:
        return span(U, *basis(U))[:2]
    return U, second_factor(U, middle(U))


def second_factor(U: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
    """Compute B = U T (..., n, r) in U's dtype; the transposed product takes half the time in BLAS."""
    return (T.mT @ exact(U).mT).to(U.dtype).mT


def middle(U: torch.Tensor) -> torch.Tensor:
    """Compute T (..., r, r) of H = I - U T Uᵀ in the dtype of `exact`."""
    T: torch.Tensor = _middle(U) if torch.compiler.is_compiling() or is_transformed() else _Middle.apply(U)
    return T


def _middle(U: torch.Tensor) -> torch.Tensor:
    W = exact(U)
    gram = W.mT @ W
    half = squared_lengths(gram.diagonal(dim1=-2, dim2=-1), U.dtype, zero=2.0) / 2
    eye = torch.eye(gram.shape[-1], dtype=W.dtype, device=W.device)
    # Only the upper triangle is read.
    return torch.linalg.solve_triangular(gram.diagonal_scatter(half, dim1=-2, dim2=-1), eye, upper=True)


def squared_lengths(squares: torch.Tensor, dtype: torch.dtype, zero: float) -> torch.Tensor:
    """Return the squares (..., r), replaced with `zero` where they are too small for full precision in `dtype`."""
    limits = torch.finfo(dtype)
    return torch.where(squares < limits.tiny / limits.eps, zero, squares)


class _Middle(torch.autograd.Function):
    """Compute T; its gradient takes one thin product."""

    @staticmethod
    def forward(ctx: Any, U: torch.Tensor) -> torch.Tensor:
        T = _middle(U)
        ctx.save_for_backward(U, T)
        return T

    @staticmethod
    def backward(ctx: Any, gT: torch.Tensor) -> torch.Tensor:
        U, T = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be computed
            return torch.autograd.grad(_middle(U), U, gT, create_graph=True)[0]
        # U G as (G Uᵀ)ᵀ, which takes 0.6 of the time in BLAS: G is symmetric.
        return (_gram_gradient(T, gT @ T.mT) @ exact(U).mT).mT.to(U.dtype)


def _gram_gradient(T: torch.Tensor, gT_T: torch.Tensor) -> torch.Tensor:
    """Compute G such that U G is T's part of the gradient of U, from the gradient of T multiplied by Tᵀ."""
    S = T.mT @ gT_T  # minus the gradient of T⁻¹, of which only the upper triangle depends on U
    return -(S.triu() + S.triu(1).mT)


def chain_gradient(U: torch.Tensor, T: torch.Tensor, gB: torch.Tensor) -> torch.Tensor:
    """Compute the gradient of the stacked U (L, n, r) from that of B = U T."""
    W = exact(U)
    Z = T @ gB.to(T.dtype).mT  # transposed, like the other products, which takes half the time in BLAS
    return Z.baddbmm_(_gram_gradient(T, (Z @ W).mT), W.mT).to(U.dtype).mT


def basis(U: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute C (..., r, r) such that each column of U C is zero or part of an orthonormal basis of U's span.

    Also returns a diagonal matrix (..., r, r) that is 1 for zero columns. The span excludes directions in which the
    unit columns differ by less than `near`, the effect of rounding to float32. The Gram matrix has the squares of such
    differences, less than its own errors, so it is formed again from columns that a factorisation with the ridge `near`
    has made almost orthonormal (mathematics.md, "λ and λ = ∞"). Unlike an eigenvalue decomposition, this needs no
    synchronisation with a GPU.
    """
    W = exact(U.detach())
    r = W.shape[-1]
    near = _near(W)
    eye = torch.eye(r, dtype=W.dtype, device=W.device)
    gram = _gram(W)
    squares = gram.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
    scale = torch.where(squares == 0, 1, squares).rsqrt()
    first = _inverse_factor(gram * (scale.mT * scale) + near * eye) * scale
    gram = rest = _gram(W @ first.mT)
    pivots, places = [], []
    for _ in range(r):  # factorisation with pivoting: the next column is the one with the largest remainder
        pivot, place = rest.diagonal(dim1=-2, dim2=-1).max(-1, keepdim=True)
        pivots.append(pivot)
        places.append(place)
        column = rest.gather(-1, place.unsqueeze(-1).expand_as(rest[..., :1]))
        rest = rest - column / pivot.clamp(min=near).unsqueeze(-1) @ column.mT
    taken = (torch.cat(pivots, -1) > near).to(W.dtype)
    independent = torch.zeros_like(taken).scatter_add(-1, torch.cat(places, -1), taken).unsqueeze(-1)
    dependent = (1 - independent) * eye
    second = _inverse_factor(gram * (independent * independent.mT) + dependent)
    return (second @ first).mT * independent.mT, dependent


def _near(W: torch.Tensor) -> float:
    """Return the distance between unit vectors below which they count as equal: in float64, √r float32 roundoffs."""
    return 4 * math.sqrt(W.shape[-1] * torch.finfo(W.dtype).eps)


def _gram(W: torch.Tensor) -> torch.Tensor:
    return (W.mT @ W).nan_to_num()


def _inverse_factor(gram: torch.Tensor) -> torch.Tensor:
    """Return L⁻¹ (..., r, r) of the Cholesky factorisation L Lᵀ."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve_triangular(torch.linalg.cholesky_ex(gram).L, eye, upper=False)


def span(U: torch.Tensor, C: torch.Tensor, dependent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute Q = U C and 2 Q N in U's dtype, and N = (QᵀQ)⁻¹ (..., r, r).

    U C has the span of U for any fixed invertible C. So C needs no gradient, and 2 Q N Qᵀ has exact derivatives of
    every order.
    """
    Q = exact(U) @ C
    N = torch.linalg.inv_ex(Q.mT @ Q + dependent).inverse
    return Q.to(U.dtype), (Q @ (2 * N)).to(U.dtype), N


def span_gradient(
    U: torch.Tensor, C: torch.Tensor, N: torch.Tensor, gQ: torch.Tensor, gB: torch.Tensor
) -> torch.Tensor:
    """Compute the gradient of U (..., n, r) from those of Q = U C and B = 2 Q N."""
    W, gB = exact(U), gB.to(C.dtype)
    # C is multiplied with the small matrices, so Q (n, r) is not formed again.
    S = 2 * C @ N @ (C.mT @ (W.mT @ gB)) @ N @ C.mT
    return (gQ.to(C.dtype) @ C.mT + gB @ (2 * N @ C.mT) - W @ (S + S.mT)).to(U.dtype)


def compose(
    first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the product (I - B₁V₁ᵀ)(I - B₂V₂ᵀ) = I - [B₁, B₂ - B₁(V₁ᵀB₂)] [V₁, V₂]ᵀ.

    The pairs (V, B) have shapes (..., n, r₁) and (..., n, r₂). Returns a pair of shape (..., n, r₁ + r₂).
    """
    (V1, B1), (V2, B2) = first, second
    turned = exact(B2) - exact(B1) @ (exact(V1).mT @ exact(B2))
    return torch.cat([V1, V2], -1), torch.cat([B1, turned.to(B2.dtype)], -1)


class _Reflect(torch.autograd.Function):
    """Compute y = x - (x V) Tᵀ Bᵀ for x (N, n), saving only x, P = x V (N, r) and the factors; T may be None."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, V: torch.Tensor, B: torch.Tensor, T: torch.Tensor | None = None
    ) -> torch.Tensor:
        P = thin(x, V)
        ctx.save_for_backward(x, V, B, P, *(() if T is None else (T,)))
        return torch.addmm(x, P if T is None else P @ T.mT, B.mT, alpha=-1)

    @staticmethod
    def backward(ctx: Any, gy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, V, B, P, *middle = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be computed, and depends on P's
            P = x @ V
        gP = gQ = thin(gy, B)  # minus the gradients of P and of Q = P Tᵀ
        Q, gT = P, None
        for T in middle:
            gP, Q, gT = gQ @ T, P @ T.mT, -(gQ.mT @ P)
        gx = gV = gB = None
        if ctx.needs_input_grad[0]:
            gx = torch.addmm(gy, gP, V.mT, alpha=-1)
        # With beta = 0, minus a product in one operation.
        if ctx.needs_input_grad[1]:
            gV = torch.addmm(V.mT, gP.mT, x, beta=0, alpha=-1).mT
        if ctx.needs_input_grad[2]:
            gB = torch.addmm(B.mT, Q.mT, gy, beta=0, alpha=-1).mT
        return gx, gV, gB, gT


def thin(x: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
    """Compute x V (N, r). With few columns and some rows the transposed product is up to four times as fast in MKL."""
    return (V.mT @ x.mT).mT if V.shape[1] < 16 <= x.shape[0] else x @ V


def reflect(x: torch.Tensor, V: torch.Tensor, B: torch.Tensor, T: torch.Tensor | None = None) -> torch.Tensor:
    """Apply H = I - B Vᵀ, or I - B T Vᵀ, to each row of x: y = x Hᵀ = x - (x V) Bᵀ.

    So z = W H x (Eq. 2) is `linear(reflect(x, V, B), W)`. Swapping the factors applies the
    transpose, which is the inverse: `reflect(x, B, V)` = x H. So W H = `reflect(W, B, V)`.

    x: (..., n); V, B: (n, r), cast to x's dtype; T: (r, r) in x's dtype. Returns (..., n) in x's dtype, in O(N n r).
    """
    V, B = cast(V, B, x.dtype)
    rows = x.reshape(-1, x.shape[-1])
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or is_transformed():
        P = rows @ V if T is None else rows @ V @ T.t()
        y = torch.addmm(rows, P, B.t(), alpha=-1)
    else:
        y = _Reflect.apply(rows, V, B, T)
    return y.view_as(x)


def cast(V: torch.Tensor, B: torch.Tensor, dtype: torch.dtype | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Cast the factors (..., n, r) of H = I - B Vᵀ to `dtype` (None: do not); if its range is smaller, balance them."""
    if dtype is None or V.dtype == B.dtype == dtype:
        return V, B
    if dtype not in (V.dtype, torch.float64):
        scale = _lengths(V)
        V, B = V / scale, B * scale
    return V.to(dtype), B.to(dtype)


def cast_gradient(V: torch.Tensor, gV: torch.Tensor, gB: torch.Tensor, unit: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the gradients of V and B, in V's dtype, from `cast(V, B, gV.dtype)`; `unit`: V had unit columns."""
    narrower = gV.dtype not in (V.dtype, torch.float64)
    gV, gB = gV.to(V.dtype), gB.to(V.dtype)
    if narrower and not unit:
        scale = _lengths(V)
        return gV / scale, gB * scale
    return gV, gB


def _lengths(V: torch.Tensor) -> torch.Tensor:
    """Return the lengths (..., 1, r) of V's columns, or 1 for zero columns; V and B are balanced by them."""
    lengths = torch.linalg.vector_norm(V.detach(), dim=-2, keepdim=True)
    return torch.where(lengths == 0, 1, lengths)
