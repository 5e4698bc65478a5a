"""The hook trains δ and leaves c."""

import torch
from safetensors.torch import load_file

from hra import reflections
from rule_jobs import maker, train
from studies.equal_budgets import frozen_directions
from sums import MathRun, math_method


def parts(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (u[:, 0::2] + u[:, 1::2]) / 2, (u[:, 0::2] - u[:, 1::2]) / 2


def test_adam_with_the_hook_equals_adam_on_the_differences():
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(6, 2, dtype=torch.float64, generator=generator)
    u = torch.repeat_interleave(c, 2, dim=1).requires_grad_()
    delta = torch.zeros_like(c, requires_grad=True)
    x, y = (torch.randn(8, 6, dtype=torch.float64, generator=generator) for _ in range(2))

    def loss(columns: torch.Tensor) -> torch.Tensor:
        return (reflections.reflect(x, *reflections.compact(columns)) - y).square().mean()

    u.register_hook(frozen_directions.antisymmetric)
    with_hook, of_delta = (torch.optim.Adam([one], lr=0.01, eps=0) for one in (u, delta))
    for _ in range(5):
        for optimizer in (with_hook, of_delta):
            optimizer.zero_grad()
        loss(u).backward()
        loss(torch.stack([c + delta, c - delta], dim=2).flatten(1)).backward()
        with_hook.step()
        of_delta.step()
    common, differences = parts(u.detach())
    assert delta.abs().max() > 0.01
    torch.testing.assert_close(differences, delta.detach(), rtol=0, atol=1e-7)
    torch.testing.assert_close(common, c, rtol=0, atol=1e-12)


def test_a_training_leaves_the_common_directions(tmp_path, tiny_math):
    method = math_method("hra", {"r": 4}) | {"kind": f"{frozen_directions.__name__}:METHOD"}
    run = maker(MathRun, tmp_path, tiny_math)(method, learning_rate=0.01)
    train(run)
    first, last = (load_file(place) for place in (run.folder / "augmented/adapter_model.safetensors", run.last))
    assert len(first) > 10 and {name.rpartition(".")[2] for name in first} == {"hra_u"}
    for name, u in last.items():
        common, differences = parts(u)
        torch.testing.assert_close(common, parts(first[name])[0], rtol=0, atol=1e-6)
        assert differences.abs().max() > 1e-4, name
