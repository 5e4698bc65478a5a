"""The bank in training: the gradients of layers that compute their own factors, in every way a model is trained."""

import gc
from functools import partial

import blocks
import pytest
import torch
from blocks import TARGETS, alone, gradients, model, same, trained
from peft import HRAConfig
from sidebyside import adapt, close
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from hra import chain


def test_the_same_outputs_and_gradients(ours, x, stacks):
    y, expected = alone(ours, x), alone(gradients, ours, x)
    assert not stacks
    close(ours(x), y, 72)
    same(gradients(ours, x), expected)
    # Two convolutions, down; up, shared and unused.
    assert sorted(stacks) == sorted(2 * [2, 4, 6])
    assert [name for name, gradient in expected.items() if gradient is None] == [
        name for name in expected if "unused" in name
    ]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_bits_in_every_dtype_but_for_a_layer_called_twice(dtype, autocast, x):
    ours = model(dtype)
    results = []
    for call in (lambda function, *arguments: function(*arguments), lambda *arguments: alone(*arguments)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = call(ours, x.to(dtype))
        ours.zero_grad()
        y.float().square().sum().backward()
        results.append((y, {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}))
    assert torch.equal(results[0][0], results[1][0])
    same(results[0][1], results[1][1], dtype=torch.bfloat16 if autocast or dtype == torch.bfloat16 else dtype)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_group_is_computed_in_one_dtype_only(stacks, autocast):
    ours = adapt(nn.Sequential(*(nn.Linear(8, 8) for _ in range(3))), target_modules=["0", "1", "2"])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours(torch.randn(5, 8)).sum().backward()  # the input of the first layer needs no gradient
    assert stacks == [3]


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(ours, x, stacks, use_reentrant):
    expected = gradients(ours, x)
    ours.get_base_model().checkpointing = use_reentrant
    stacks.clear()
    same(gradients(ours, x), expected)
    assert len(stacks) == 3
    both = gradients(ours, x, lambda x: ours(x) + 2 * ours(x))  # two forward passes before one backward pass
    same(both, {name: g if g is None else 9 * g for name, g in expected.items()}, c=320)
    for block in ours.get_base_model().blocks:  # outside of the model's forward pass, too
        features = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
        run = ours.get_base_model().block
        plain = torch.autograd.grad(run(block, features).sum(), [features, *trained(block)])
        again = checkpoint(run, block, features, use_reentrant=use_reentrant).sum()
        if use_reentrant:
            ours.zero_grad()
            again.backward()
            assert all(torch.equal(one.grad, g) for one, g in zip([features, *trained(block)], plain, strict=True))
        else:
            assert all(map(torch.equal, torch.autograd.grad(again, [features, *trained(block)]), plain))


@pytest.mark.parametrize("saved", [[], [torch.ops.aten.mm.default, torch.ops.aten.addmm.default], None])
@pytest.mark.parametrize("frozen", [False, True])
def test_selective_checkpointing_which_numbers_the_operations_of_a_block(ours, x, stacks, saved, frozen):
    """`saved`: the operations whose results are kept (None: all), in the order in which both runs have them."""
    if frozen:  # a layer whose factors are kept between calls
        ours.get_base_model().blocks[0]["up"].requires_grad_(False)
    expected = gradients(ours, x)
    policy = (lambda *_, **__: CheckpointPolicy.MUST_SAVE) if saved is None else saved
    ours.get_base_model().checkpointing = False
    with pytest.MonkeyPatch.context() as patch:
        contexts = partial(create_selective_checkpoint_contexts, policy)
        patch.setattr(blocks, "checkpoint", partial(checkpoint, context_fn=contexts))
        same(gradients(ours, x), expected)
    assert len(stacks) >= 6  # both steps used the bank


@pytest.mark.parametrize("infinite", [False, True])
def test_a_checkpointed_step_keeps_no_tensor_alive(infinite, x):
    ours = model(apply_GS=infinite)
    ours.get_base_model().checkpointing = False
    alive = []
    gc.collect()
    gc.disable()  # a cycle is freed some time on a CPU, and never on a full GPU
    try:
        for _ in range(3):
            gradients(ours, x)
            alive.append(sum(type(one) is torch.Tensor for one in gc.get_objects()))
    finally:
        gc.enable()
    assert alive[1] == alive[2]


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.first(x), self.second(x)


def test_parts_of_one_forward_pass_are_differentiated_separately_and_again(stacks):
    """Also after an optimiser inside of the backward pass has changed a layer whose gradient is complete."""
    ours = adapt(Towers().double(), target_modules=["first", "second"])
    (u, v), x = trained(ours), torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(ours.get_base_model().second(x).sum(), v)
    first, second = ours(x)
    first.sum().backward()
    assert stacks == [2] and u.grad is not None and v.grad is None
    with torch.no_grad():
        u.mul_(2)
    second.sum().backward(retain_graph=True)  # neither part needs it for the other
    second.sum().backward()
    close(v.grad, 2 * expected, 4)


def test_a_change_between_forward_and_backward_is_an_error_as_for_any_layer(ours, x):
    y = ours(x).sum()
    with torch.no_grad():
        next(p for name, p in ours.named_parameters() if "blocks.0.up" in name and "hra_u" in name).mul_(2)
    with pytest.raises(RuntimeError, match=r"modified in place|modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("parts", [2, 1])
def test_a_write_to_data_between_forward_and_backward_changes_no_gradient(parts):
    """Autograd does not count it. The layers keep the u of their forward pass, and the gradient is that of these."""
    ours = adapt(Towers(), target_modules=["first", "second"])
    us = trained(ours)[:parts]
    x = torch.randn(3, 4, requires_grad=True)  # else the first layers take another path

    def after(change):
        loss = sum(y.square().sum() for y in ours(x)[:parts])
        for p in trained(ours):
            p.data.mul_(change)
        return torch.autograd.grad(loss, us)

    assert all(map(torch.equal, after(1), after(2)))


def test_gradients_of_gradients(ours, x):
    us = [p for name, p in ours.named_parameters() if "hra_u" in name and "unused" not in name]

    def second_order():
        first = torch.autograd.grad(ours(x).tanh().sum(), us, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), us)

    for actual, expected in zip(second_order(), alone(second_order), strict=True):
        close(actual, expected, 72, c=320)


def test_mixed_requires_grad_takes_only_the_trained_layers(ours, x, stacks):
    frozen = [p for name, p in ours.named_parameters() if "blocks.1" in name or "blocks.2.up" in name]
    for parameter in frozen:
        parameter.requires_grad_(False)
    expected = alone(gradients, ours, x)
    same(gradients(ours, x), expected)
    assert sorted(stacks) == [2, 3, 4] and all(p.grad is None for p in frozen)


def test_several_active_adapters_and_those_of_samples_compute_their_own(ours, x, stacks):
    ours.add_adapter("other", HRAConfig(r=2, target_modules=TARGETS, init_weights=False))
    ours.base_model.set_adapter(["default", "other"])
    y = ours(x)
    assert not stacks and torch.equal(alone(ours, x), y)
    ours.set_adapter("other")
    stacks.clear()
    ours(x).sum().backward()
    assert len(stacks) == 3
    stacks.clear()
    ours.eval().zero_grad()
    ours(x, adapter_names=["other", "default"]).sum().backward()
    mixed = {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}
    ours.zero_grad()
    alone(lambda: ours(x, adapter_names=["other", "default"]).sum().backward())
    same({name: p.grad for name, p in ours.named_parameters() if p.requires_grad}, mixed)
    with ours.disable_adapter():
        stacks.clear()
        ours(x)
        assert not stacks


@pytest.fixture
def nothing_kept(monkeypatch):
    """As on other devices than a CPU."""
    monkeypatch.setattr(chain, "can_compare", lambda us: False)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_where_nothing_is_kept(ours, x, stacks, nothing_kept, mode):
    ours.add_adapter("other", HRAConfig(r=2, target_modules=TARGETS, init_weights=False))
    for names in ({}, {"adapter_names": ["other", "default"]}):
        with mode():
            y = ours.eval()(x, **names)
            assert len(stacks) == 3 * max(1, len(names.get("adapter_names", "")))
            stacks.clear()
            close(y, alone(partial(ours, **names), x), 72)


def test_frozen_layers_where_nothing_is_kept(ours, x, stacks, nothing_kept):
    layers = [ours.get_base_model().blocks[i]["up"] for i in range(2)]
    for layer in layers:
        layer.requires_grad_(False)
    expected = alone(gradients, ours, x)
    same(gradients(ours, x), expected)
    assert sorted(stacks) == [2, 2, 4, 4]
    ours.requires_grad_(False)
    assert not ours(x).requires_grad
