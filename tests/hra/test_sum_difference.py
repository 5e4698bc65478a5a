"""Steps in the sum and the difference of column pairs: identities in float64, and models trained and resumed."""

import copy
import io

import pytest
import torch
from peft import get_peft_model
from sidebyside import dense
from torch import nn

import hra
from hra.reflections import compact, reflect
from hra.sum_difference import train_sum_and_difference


def adapted(r=4, n=12, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(n, n), nn.Tanh(), nn.Linear(n, 3)).double()
    return get_peft_model(model, hra.HRAConfig(r=r, target_modules=["0", "2"], **options))


def us(model):
    return [parameter for name, parameter in model.named_parameters() if "hra_u" in name]


def batches(steps, n=12):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, n, dtype=torch.float64, generator=generator) for _ in range(steps)]


def train(model, optimizer, rows):
    for x in rows:
        optimizer.zero_grad()
        (model(x).sin() - 1).square().mean().backward()
        optimizer.step()


def coordinates(u):
    return (u[:, 0::2] + u[:, 1::2]) / 2, (u[:, 0::2] - u[:, 1::2]) / 2


@pytest.mark.parametrize(("ratio", "options"), [(1.0, {}), (4.0, {}), (4.0, {"two_sided": True, "r": 2})])
def test_adam_steps_as_if_c_and_delta_were_the_parameters(ratio, options):
    model = adapted(init_weights=False, **options)  # at the paired start, the gradient of c is rounding noise
    reference = copy.deepcopy(model)
    pairs = [[nn.Parameter(one.clone()) for one in coordinates(u.detach())] for u in us(reference)]
    expected = torch.optim.AdamW(
        [{"params": [c for c, _ in pairs], "lr": 1e-2 * ratio}, {"params": [delta for _, delta in pairs]}],
        lr=1e-2,
        weight_decay=0,
        eps=1e-30,
    )
    optimizer = torch.optim.AdamW(us(model), lr=1e-2, weight_decay=0, eps=1e-30)
    hra.train_sum_and_difference(model, optimizer, ratio=ratio)
    rows = batches(5)
    train(model, optimizer, rows)
    for x in rows:
        expected.zero_grad()
        for u, (c, delta) in zip(us(reference), pairs, strict=True):
            u.data.copy_(torch.stack([c + delta, c - delta], -1).view_as(u))
            u.grad = None
        (reference(x).sin() - 1).square().mean().backward()
        for u, (c, delta) in zip(us(reference), pairs, strict=True):
            c.grad, delta.grad = u.grad[:, 0::2] + u.grad[:, 1::2], u.grad[:, 0::2] - u.grad[:, 1::2]
        expected.step()
    for u, (c, delta) in zip(us(model), pairs, strict=True):
        torch.testing.assert_close(u.data, torch.stack([c + delta, c - delta], -1).view_as(u).data, rtol=0, atol=1e-9)


def test_only_the_difference_acts_at_the_start_and_gradients_of_a_pair_are_opposite():
    U = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, 1)
    x = torch.randn(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    U.requires_grad_()
    torch.testing.assert_close(reflect(x, *compact(U)), x, rtol=0, atol=1e-12)
    reflect(x, *compact(U)).sin().sum().backward()
    torch.testing.assert_close(U.grad[:, 0::2], -U.grad[:, 1::2], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "r"), [(24, 8), (9, 4)])
def test_the_tangents_at_the_paired_start_have_dimension_kn_minus_k_times_k_plus_1_over_2(n, r):
    U = torch.randn(n, r // 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, 1)
    jacobian = torch.autograd.functional.jacobian(lambda U: dense(*compact(U)), U).reshape(n * n, n * r)
    k = r // 2
    assert torch.linalg.matrix_rank(jacobian) == k * n - k * (k + 1) // 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_of_rate_zero_keeps_the_start_exactly_and_gradients_are_given_back(dtype):
    model = adapted().to(dtype)
    optimizer = torch.optim.AdamW(us(model), lr=0.0)
    train_sum_and_difference(model, optimizer)
    before = [u.detach().clone() for u in us(model)]
    model(batches(1)[0].to(dtype)).sum().backward()
    gradients = [u.grad.clone() for u in us(model)]
    optimizer.step()
    assert all(torch.equal(new, old) for new, old in zip(us(model), before, strict=True))
    assert all(torch.equal(u.grad, old) for u, old in zip(us(model), gradients, strict=True))


def test_a_resumed_run_takes_the_same_steps_to_the_bit():
    rows = batches(6)

    def begin():
        model = adapted()
        optimizer = torch.optim.AdamW(us(model), lr=1e-2)
        hra.train_sum_and_difference(model, optimizer)
        return model, optimizer

    model, optimizer = begin()
    train(model, optimizer, rows[:3])
    stored = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], stored)
    train(model, optimizer, rows[3:])
    resumed, again = begin()
    stored.seek(0)
    weights, state = torch.load(stored, weights_only=True)
    resumed.load_state_dict(weights)
    again.load_state_dict(state)
    train(resumed, again, rows[3:])
    assert all(torch.equal(new, old) for new, old in zip(us(resumed), us(model), strict=True))


def test_a_layer_without_a_gradient_stays_as_it_is():
    model = adapted()
    optimizer = torch.optim.AdamW(us(model), lr=1e-2)
    hra.train_sum_and_difference(model, optimizer)
    first, second = us(model)
    before = first.detach().clone()
    second.grad = torch.ones_like(second)
    optimizer.step()
    assert torch.equal(first, before) and first.grad is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter_name": "other"}, "expected HRA layers with the adapter 'other', found none"),
        ({"ratio": 0.0}, "expected a positive ratio of learning rates, found 0.0"),
    ],
)
def test_wrong_arguments(change, message):
    model = adapted()
    with pytest.raises(ValueError, match=message):
        hra.train_sum_and_difference(model, torch.optim.SGD(us(model), lr=1.0), **change)


@pytest.mark.parametrize("options", [{"r": 3, "init_weights": False}, {"apply_GS": True}])
def test_what_has_no_pairs_is_an_error(options):
    model = adapted(**options)
    with pytest.raises(ValueError, match="expected pairs of columns, found r = "):
        hra.train_sum_and_difference(model, torch.optim.SGD(us(model), lr=1.0))


def test_another_models_optimizer_and_a_closure_are_errors():
    model, other = adapted(), adapted()
    with pytest.raises(ValueError, match="expected an optimizer of this layer's `hra_u`, found one without it"):
        hra.train_sum_and_difference(model, torch.optim.SGD(us(other), lr=1.0))
    both = adapted(two_sided=True, r=2)
    inputs = [u for name, u in both.named_parameters() if "hra_u." in name]
    with pytest.raises(ValueError, match="expected an optimizer of this layer's `hra_u_out`, found one without it"):
        hra.train_sum_and_difference(both, torch.optim.SGD(inputs, lr=1.0))
    optimizer = torch.optim.LBFGS(us(model))
    hra.train_sum_and_difference(model, optimizer)
    with pytest.raises(ValueError, match="expected a step without a closure"):
        optimizer.step(lambda: model(batches(1)[0]).sum())
