"""The paired initialisation in float64: the dimension of its tangent space, and what the length of its columns does."""

import pytest
import torch
from peft import get_peft_model
from sidebyside import dense
from torch import nn

import hra
from hra.reflections import compact


def paired(n: int, r: int) -> torch.Tensor:
    return torch.randn(n, r // 2, dtype=torch.float64).repeat_interleave(2, 1)


def rotation(u: torch.Tensor) -> torch.Tensor:
    return dense(*compact(u))


def rank(function, *start: torch.Tensor) -> int:
    """Return the dimension of the tangent space: the rank of the Jacobian of all parameters."""
    columns = torch.autograd.functional.jacobian(function, start)
    columns = [one.reshape(-1, u.numel()) for one, u in zip(columns, start, strict=True)]
    return int(torch.linalg.matrix_rank(torch.cat(columns, 1)))


@pytest.mark.parametrize(("out", "n"), [(5, 7), (6, 6), (9, 5)])
@pytest.mark.parametrize("k", [1, 2])
def test_the_dimension_of_the_tangent_space_of_k_pairs(out, n, k):
    W = torch.randn(out, n, dtype=torch.float64)
    assert rank(lambda u: W @ rotation(u), paired(n, 2 * k)) == k * n - k * (k + 1) // 2


def test_the_gradients_of_a_pair_are_opposite_at_the_start():
    u = paired(12, 6).requires_grad_()
    (torch.randn(5, 12, dtype=torch.float64) @ rotation(u)).sin().sum().backward()
    torch.testing.assert_close(u.grad[:, 0::2], -u.grad[:, 1::2], rtol=0, atol=1e-12)


def trained(scale: float, rate: float) -> list[torch.Tensor]:
    """Return the weights after each of five steps of Adam."""
    torch.manual_seed(0)
    layer, x, y = nn.Linear(8, 6, dtype=torch.float64), *torch.randn(2, 20, 8, dtype=torch.float64)
    config = hra.HRAConfig(r=4, init_scale=scale, target_modules=["0"])
    model = get_peft_model(nn.Sequential(layer), config)
    optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], rate, eps=0)
    weights = []
    for _ in range(5):
        optimizer.zero_grad()
        (model(x) - y[:, :6]).square().mean().backward()
        optimizer.step()
        weights.append(model(torch.eye(8, dtype=torch.float64)).detach().mT)
    return weights


def test_scaling_the_start_and_the_learning_rate_changes_nothing():
    apart = [(one - other).abs().max() for one, other in zip(trained(0.5, 0.08), trained(1 / 16, 0.01), strict=True)]
    assert max(apart) < 1e-13
    assert (trained(0.5, 0.08)[0] - trained(0.5, 0.04)[0]).abs().max() > 1e-3


@pytest.mark.parametrize(("r", "n"), [(2, 256), (32, 256), (2, 1024), (32, 1024)])
def test_a_first_step_turns_every_column_by_the_rate_over_the_scale(r, n):
    config = hra.HRAConfig(r=r, init_scale=1 / 128, target_modules=["0"])
    model = get_peft_model(nn.Sequential(nn.Linear(n, n)), config)
    columns = [u for name, u in model.named_parameters() if "hra_u" in name]
    before = [u.detach().clone() for u in columns]
    optimizer = torch.optim.Adam(columns, 1e-3)
    model(torch.randn(16, n)).square().mean().backward()
    optimizer.step()
    for u, start in zip(columns, before, strict=True):
        angles = torch.arccos(torch.cosine_similarity(u.double(), start.double(), dim=0))
        assert ((angles * r / 128 / 1e-3 - 1).abs() < 0.15).all(), angles


def test_the_expected_effect_of_a_step_does_not_depend_on_r():
    effects = []
    for r in (2, 8, 32):
        torch.manual_seed(0)
        layers = nn.Sequential(*[nn.Linear(64, 64) for _ in range(8)])
        model = get_peft_model(layers, hra.HRAConfig(r=r, init_scale=0.01, target_modules=[str(i) for i in range(8)]))
        torch.manual_seed(1)
        model(torch.randn(16, 64)).square().mean().backward()
        effects.append(sum(one.grad.abs().sum() for one in model.parameters() if one.grad is not None).item())
    assert max(effects) < 1.2 * min(effects), effects
