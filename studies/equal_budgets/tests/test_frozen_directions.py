"""Part E's candidate: the hook trains δ and leaves c."""

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hra import reflections
from hra_workflow import methods
from studies.equal_budgets import frozen_directions


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


def test_the_method_freezes_both_sides_of_a_layer_before_training():
    (name,) = frozen_directions.METHOD.callbacks
    assert methods.entry({"kind": "studies.equal_budgets.frozen_directions:METHOD"}) is frozen_directions.METHOD
    callback = getattr(frozen_directions, name.partition(":")[2])()
    assert isinstance(callback, TrainerCallback)
    model = torch.nn.ModuleDict({"hra_u": torch.nn.ParameterDict(), "hra_u_out": torch.nn.ParameterDict()})
    for side, n in (("hra_u", 4), ("hra_u_out", 3)):
        model[side]["default"] = torch.nn.Parameter(torch.ones(n, 2))
    head = torch.nn.Parameter(torch.ones(4, 2))
    model.register_parameter("head", head)
    callback.on_train_begin(TrainingArguments("unused"), TrainerState(), TrainerControl(), model=model)
    sum(one[:, 0].sum() for one in model.parameters()).backward()
    assert model["hra_u"]["default"].grad.tolist() == [[0.5, -0.5]] * 4
    assert model["hra_u_out"]["default"].grad.tolist() == [[0.5, -0.5]] * 3
    assert head.grad.tolist() == [[1, 0]] * 4
