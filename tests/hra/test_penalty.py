"""The regulariser equals its definition, summed over the active adapters."""

import pytest
import torch
from peft import HRAConfig
from sidebyside import adapt, close

import hra


def by_definition(us, squared):
    total = 0.0
    for u in us:
        v = u / u.norm(dim=0)
        error = (torch.eye(u.shape[1], dtype=u.dtype) - v.T @ v).norm()
        total = total + (error**2 if squared else error)
    return total


def parameters(model, ending="default"):
    return [p for name, p in model.named_parameters() if name.endswith(f"hra_u.{ending}")]


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("stock", [False, True])
def test_penalty_and_its_gradient_are_the_definition(net, squared, stock):
    model = adapt(net.double(), stock)
    us = parameters(model)
    assert len(us) == 3
    penalty = hra.orthogonality_penalty(model, squared=squared)
    assert penalty.shape == ()
    expected = by_definition(us, squared)
    close(penalty, expected, 12)
    for actual, other in zip(torch.autograd.grad(penalty, us), torch.autograd.grad(expected, us), strict=True):
        close(actual, other, 12)


def test_the_penalty_is_on_the_device_of_the_first_layer():
    """An adapter with λ = ∞ on another device contributes zero."""
    net = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 6, device="meta"))
    model = adapt(net, stock=False, target_modules=["0"])
    model.add_adapter("other", HRAConfig(r=2, target_modules=["1"], apply_GS=True))
    model.base_model.set_adapter(["default", "other"])
    assert hra.orthogonality_penalty(model).item() > 0


def test_paired_start_has_the_values_of_the_documentation():
    paired = torch.linalg.qr(torch.randn(20, 4))[0].repeat_interleave(2, 1)
    net = torch.nn.Sequential(torch.nn.Linear(20, 5))
    model = adapt(net, r=8, init_weights=True, target_modules=["0"])
    parameters(model)[0].data = paired
    close(hra.orthogonality_penalty(model), torch.tensor(8.0), 20)
    close(hra.orthogonality_penalty(model, squared=False), torch.tensor(8.0).sqrt(), 20)


def test_gradient_at_the_optimum_is_zero_not_NaN(net):
    model = adapt(net, r=2, target_modules=["first"])
    parameters(model)[0].data = torch.eye(168, 2)
    for squared in (True, False):
        hra.orthogonality_penalty(model, squared).backward()
    assert parameters(model)[0].grad.eq(0).all()


def test_active_adapters_count_and_others_do_not(net):
    model = adapt(net)
    one = hra.orthogonality_penalty(model)
    model.add_adapter("other", HRAConfig(r=2, init_weights=False, target_modules=["first"]))
    assert torch.equal(hra.orthogonality_penalty(model), one)
    model.base_model.set_adapter(["default", "other"])
    both = [*parameters(model), *parameters(model, "other")]
    close(hra.orthogonality_penalty(model), by_definition(both, True), 168)


def test_infinite_lambda_counts_as_zero(net):
    assert hra.orthogonality_penalty(adapt(net, apply_GS=True)) == 0


def test_autocast_and_narrow_adapters_do_not_round_the_penalty(net):
    model = adapt(net)
    exact = hra.orthogonality_penalty(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(hra.orthogonality_penalty(model), exact)
    assert hra.orthogonality_penalty(model.bfloat16()).dtype == torch.float32


def test_a_model_without_adapters_is_an_error(net):
    with pytest.raises(ValueError, match="found none"):
        hra.orthogonality_penalty(net)
