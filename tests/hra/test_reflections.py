"""The mathematics as identities in float64, on plain tensors."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sidebyside import close, dense, explicit

from hra.penalty import orthogonality_error
from hra.reflections import compact, compose, middle, reflect

shapes = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**31))
few = settings(max_examples=25, deadline=None)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def terms(n: int, r: int) -> int:
    """Scale the tolerance: each of r reflections sums n terms, and the r × r inverse T rounds more where r > n."""
    return max(n, r) * r


@few
@given(shapes)
def test_compact_form_is_the_product_of_explicit_reflections(shape):
    n, r, seed = shape  # including r > n
    U = random(n, r, seed=seed)
    close(dense(*compact(U)), explicit(U), terms(n, r))


@few
@given(shapes)
@example((1, 5, 406))
def test_reflect_applies_H_to_each_row_and_the_swapped_factors_undo_it(shape):
    n, r, seed = shape
    U, x = random(n, r, seed=seed), random(2, 3, n, seed=seed + 1)
    V, B = compact(U)
    y = reflect(x, V, B)
    close(y, x @ explicit(U).T, terms(n, r))
    close(reflect(y, B, V), x, terms(n, r))
    close(reflect(y, *compact(U.flip(1))), x, terms(n, r))  # the reversed chain
    close(y.norm(dim=-1), x.norm(dim=-1), terms(n, r))


@pytest.mark.parametrize(
    ("U", "apply_GS", "sign"),
    [
        (random(9, 3).repeat_interleave(2, 1), False, 1),
        (torch.zeros(5, 2), False, 1),
        (torch.zeros(5, 2), True, 1),
        (random(3, 7), True, -1),
    ],
    ids=["paired", "zero", "zero, infinite", "more columns than dimensions, infinite"],
)
def test_plus_or_minus_the_identity(U, apply_GS, sign):
    close(dense(*compact(U, apply_GS)), sign * torch.eye(len(U), dtype=U.dtype), 9)


@pytest.mark.parametrize("apply_GS", [False, True])
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scaling_a_column_changes_nothing(apply_GS, scale):
    U = random(9, 4)
    H = dense(*compact(U, apply_GS))
    U[:, 1] *= scale
    close(dense(*compact(U, apply_GS)), H, 9)
    close(dense(*compact(U.float(), apply_GS)), H.float(), 9)


def test_two_chains_compose_into_one():
    U1, U2 = random(9, 3), random(9, 4, seed=1)
    both = compose(compact(U1), compact(U2))
    close(dense(*both), explicit(torch.cat([U1, U2], 1)), 9)
    close(dense(*compose(compact(U1, True), compact(U2))), dense(*compact(U1, True)) @ explicit(U2), 9)


# λ = ∞


def gram_schmidt(U):
    """Compute I - 2 Q Qᵀ column by column, as in the paper and PEFT."""
    Q = []
    for u in U.T:
        for q in Q:
            u = u - (q @ u) * q
        Q.append(u / u.norm())
    Q = torch.stack(Q, 1)
    return torch.eye(len(U), dtype=U.dtype) - 2 * Q @ Q.T


def test_infinite_lambda_is_gram_schmidt():
    U = random(9, 4)
    V, B = compact(U, apply_GS=True)
    close(dense(V, B), gram_schmidt(U), 9)
    close(V.T @ V, torch.eye(4, dtype=torch.float64), 9)
    close(B, 2 * V, 9)
    trace = dense(V, B).trace()
    close(trace, torch.tensor(9 - 2 * 4.0, dtype=torch.float64), 9)  # never the identity


@pytest.mark.parametrize("columns", [[0, 1, 0, 2], [0, 0, 1, 1, 2, 2]])
def test_infinite_lambda_takes_dependent_columns_as_their_span(columns):
    U = random(9, 3).float()  # the second case is the paired initialisation
    expected = dense(*compact(U, True))
    U = U[:, columns].requires_grad_()
    V, B = compact(U, True)
    close(dense(V, B), expected, 9)
    dense(V, B).square().sum().backward()
    assert U.grad.isfinite().all()


@pytest.mark.parametrize(("n", "r"), [(20, 2), (100, 8), (300, 64)])
@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_infinite_lambda_keeps_both_of_two_columns_that_almost_coincide(n, r, distance, dtype):
    U = random(n, r)
    U[:, 1] = U[:, 0] + distance * U[:, 1]
    U = U.to(dtype)
    H, Q = dense(*compact(U, True)), torch.linalg.qr(U.double()).Q
    close(H.trace(), torch.tensor(n - 2.0 * r), n, dtype=dtype)  # no column is dropped
    close(H @ H.T, torch.eye(n), n, dtype=dtype)
    close(H, torch.eye(n) - 2 * Q @ Q.T, n, c=8 / distance if dtype == torch.float64 else 8, dtype=dtype)


@few
@given(shapes, st.integers(1, 16), st.integers(0, 8))
@example((8, 4, 1078), 15, 4)  # a factorisation without pivoting is off by 6,000 here
def test_infinite_lambda_reflects_the_span_of_columns_that_are_almost_dependent(shape, r, digits):
    n, rank, seed = shape
    U = random(n, rank, seed=seed) @ random(rank, r, seed=seed + 1)
    U = (U + 10.0**-digits * random(n, r, seed=seed + 2) * (random(r, seed=seed + 3) > 0)).float()
    H = dense(*compact(U, True))
    close(H @ H.T, torch.eye(n), terms(n, r))
    assert (H @ U + U).abs().max() < 1e-3 * U.abs().max()  # what is left out is almost in the span


@pytest.mark.parametrize("n", [6, 300, 28672])
@pytest.mark.parametrize("r", [4, 64])
def test_infinite_lambda_takes_no_direction_from_rounding_to_float32(n, r):
    """Constant columns round most: their sums never cancel."""
    for W in (random(n, 3) @ random(3, r, seed=1), torch.ones(n, 1) * random(1, r).abs()):
        V, _ = compact(W.float(), True)
        assert V.isfinite().all() and V.ne(0).any(0).sum() == torch.linalg.matrix_rank(W[:300])


# Zero columns


@pytest.mark.parametrize("apply_GS", [False, True])
def test_zero_column_is_no_reflection_and_gives_no_NaN(apply_GS):
    U = random(9, 4).float()
    U[:, 2] = 0
    rest = U[:, [0, 1, 3]]
    x = random(5, 9).float()
    U.requires_grad_()
    y = reflect(x, *compact(U, apply_GS))
    close(y, reflect(x, *compact(rest, apply_GS)), 9)
    y.square().mul(torch.arange(9)).sum().backward()
    assert U.grad.isfinite().all()
    close(U.grad[:, 2], torch.zeros(9), 9, c=1)
    assert U.grad[:, 0].ne(0).any()
    assert orthogonality_error(U).isfinite()


@pytest.mark.parametrize("length", [1e-14, 1e-17, 1e-20, 1e-23])
def test_column_too_short_for_float32_is_whole_or_nothing(length):
    U = random(9, 3).float()
    U[:, 1] *= length / U[:, 1].norm()
    H = dense(*compact(U))
    close(H @ H.T, torch.eye(9), 9)
    close(H, explicit(U.double() if length > 1e-15 else U[:, [0, 2]].double()).float(), 9)


def test_NaN_stays_visible():
    U = torch.randn(5, 2)
    U[0, 0] = torch.nan
    for apply_GS in (False, True):
        assert dense(*compact(U, apply_GS)).isnan().any()


# Gradients


def rotation(apply_GS):
    return lambda x, U: reflect(x, *compact(U, apply_GS))


def without_B(x, U):
    return reflect(x, U, U, middle(U))


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        *((rotation(apply_GS), [(4, 5), (5, 3)]) for apply_GS in (False, True)),
        *((rotation(apply_GS), [(4, 3), (3, 1)]) for apply_GS in (False, True)),
        (rotation(False), [(4, 3), (3, 4)]),
        (without_B, [(4, 5), (5, 3)]),
        (compact, [(5, 3)]),
        (reflect, [(4, 5), (5, 2), (5, 2)]),
        (orthogonality_error, [(5, 3)]),
    ],
)
def test_first_and_second_derivatives(function, shapes):
    inputs = [random(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_only_the_gradients_asked_for_are_made():
    x, V, B = random(4, 5), random(5, 2, seed=2).requires_grad_(), random(5, 2, seed=3)
    reflect(x, V, B).sum().backward()
    assert V.grad is not None and x.grad is None and B.grad is None


# Reduced precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_narrow_activations_keep_their_dtype_and_their_length(dtype, scale):
    U, x = random(64, 8).float() * scale, random(32, 64).to(dtype)
    y = reflect(x, *compact(U))
    assert y.dtype == dtype
    # A product of n terms, each rounded once: sqrt(n) eps would do.
    close(y.float(), x.float() @ explicit(U.double()).T.float(), 8, dtype=dtype)
    start = compact(random(64, 4).to(dtype).repeat_interleave(2, 1))
    assert start[0].dtype == torch.float32
    close(reflect(x, *start), x, 1, c=2)
