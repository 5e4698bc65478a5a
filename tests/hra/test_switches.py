"""Orthogonality does not degrade under the switches that round float32 products (emulated)."""

import contextlib

import pytest
import torch
from sidebyside import dense, layer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hra.penalty import orthogonality_error
from hra.reflections import compact, compose

aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.mv, aten.dot, aten.linalg_solve_triangular}
PRODUCTS |= {aten.addmm_}


class TF32(TorchDispatchMode):
    """Rounds the float32 operands of products to TF32's 10 bits, like tensor cores, in forward and backward."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if function.overloadpacket in PRODUCTS:
            first = 1 if function.overloadpacket in (aten.addmm, aten.baddbmm, aten.addmm_) else 0  # the addend
            arguments = [*arguments[:first], *(self.rounded(one) for one in arguments[first:])]
        return function(*arguments, **(keywords or {}))

    @staticmethod
    def rounded(one):
        if not (isinstance(one, torch.Tensor) and one.dtype == torch.float32):
            return one
        bits = one.contiguous().view(torch.int32)
        return ((bits + (1 << 12)) & -(1 << 13)).view(torch.float32)


@contextlib.contextmanager
def autocast_and_tf32():
    with torch.autocast("cpu", torch.bfloat16), TF32():
        yield


switches = pytest.mark.parametrize("switched", [TF32, autocast_and_tf32], ids=["TF32", "TF32, autocast"])
N, R = 1024, 32


def columns(dtype=torch.float32):
    """Draw columns close to each other, so that no entry of T is small."""
    return (torch.randn(N, R) + torch.randn(N, 1)).to(dtype).requires_grad_()


def H(V, B):
    return dense(V.detach().double(), B.detach().double())


def orthogonal(H):
    return (H.mT @ H - torch.eye(len(H), dtype=torch.float64)).norm() < 1e-5


def near(actual, expected):
    return (actual.double() - expected).norm() < 1e-5 * expected.norm()


@switches
def test_the_emulation_rounds_float32_and_leaves_float64(switched):
    x = torch.randn(N, R)
    with switched():
        error = ((x.mT @ x).double() - x.double().mT @ x.double()).norm()
    assert error > 1e-4 * N


@switches
@pytest.mark.parametrize("apply_GS", [False, True])
@pytest.mark.parametrize("compiling", [False, True])
def test_the_chain_is_orthogonal_and_its_gradient_exact(switched, apply_GS, compiling, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    U, G = columns(), torch.randn(N, R)
    U64 = U.detach().double().requires_grad_()
    V, B = compact(U64, apply_GS)
    ((V * G).sum() + (B * G).sum()).backward()
    exact = H(V, B)
    with switched():
        V, B = compact(U, apply_GS)
        ((V * G).sum() + (B * G).sum()).backward()
    assert orthogonal(H(V, B))
    assert near(H(V, B), exact)
    assert near(U.grad, U64.grad)


@switches
def test_two_chains_compose_exactly(switched):
    with switched():
        V, B = compose(compact(columns()), compact(columns(), True))
    assert orthogonal(H(V, B))


@switches
def test_the_penalty_and_its_gradient_are_exact(switched):
    U = columns()
    U64 = U.detach().double().requires_grad_()
    orthogonality_error(U64).square().backward()
    with switched():
        error = orthogonality_error(U)
        error.square().backward()
    assert near(error, orthogonality_error(U64))
    assert near(U.grad, U64.grad)


@switches
def test_merging_and_its_inverse_are_exact(switched):
    adapted = layer(nn.Linear(N, 300, bias=False), r=R)
    W = adapted.base_layer.weight.data.double()
    expected = W @ H(*adapted.get_factors(["default"]))
    with switched():
        adapted.merge()
        merged = adapted.base_layer.weight.data.clone()
        adapted.unmerge()
    assert near(merged, expected)
    assert near(adapted.base_layer.weight.data, W)
