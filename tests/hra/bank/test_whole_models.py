"""Injected, copied, functional and compiled models."""

import copy
import io

import pytest
import torch
from blocks import TARGETS, Blocks, alone, gradients, model, same, trained
from peft import HRAConfig, get_peft_model, inject_adapter_in_model
from sidebyside import adapt, close, llama
from torch import nn
from torch._dynamo.utils import counters
from transformers import StaticCache

from hra import bank
from hra.base_layer import HRALayer


def test_injected_models_and_parts_of_larger_models_use_it(x, stacks):
    ours = inject_adapter_in_model(HRAConfig(r=4, target_modules=TARGETS, init_weights=False), Blocks().double())
    same(gradients(ours, x), alone(gradients, ours, x))
    assert len(stacks) == 3
    stacks.clear()
    nn.Sequential(nn.Identity(), ours)(x).sum().backward()
    assert len(stacks) == 3


def test_meta_tensors_compute_their_own_until_they_are_loaded(x, stacks):
    ours = adapt(Blocks().double(), target_modules=TARGETS)
    empty = get_peft_model(Blocks().double(), HRAConfig(r=4, target_modules=TARGETS), low_cpu_mem_usage=True)
    assert all(layer.chain.stackable("default") is None for layer in empty.modules() if isinstance(layer, HRALayer))
    empty.load_state_dict(ours.state_dict(), assign=True)
    for name, parameter in empty.named_parameters():
        parameter.requires_grad_("hra_u" in name)
    same(gradients(empty, x), gradients(ours, x))
    assert len(stacks) == 6


def test_files_copies_and_unloaded_models(ours, x, tmp_path):
    expected = gradients(ours, x)
    buffer = io.BytesIO()
    torch.save(ours, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(ours), torch.load(buffer, weights_only=False)):
        same(gradients(other, x), expected)
    plain = ours.merge_and_unload()
    assert not plain._forward_pre_hooks and not plain._forward_hooks and not plain._forward_hooks_always_called


def test_functional_calls_and_transforms_compute_their_own(ours, x, stacks):
    us = {name: p.detach() for name, p in ours.named_parameters() if p.requires_grad}

    def loss(us, x):
        return torch.func.functional_call(ours, us, (x,)).square().sum()

    expected = {name: g for name, g in alone(gradients, ours, x).items() if g is not None}
    actual = torch.func.grad(loss)(us, x)
    same({name: actual[name] for name in expected}, expected)
    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(us, x.unsqueeze(1))
    same({name: each[name].sum(0) for name in expected}, expected)
    assert not stacks


@pytest.mark.slow
def test_a_compiled_language_model_trains_and_decodes_without_a_graph_break(stacks):
    torch._dynamo.reset()
    counters.clear()
    ours = adapt(llama(), target_modules=["q_proj", "v_proj", "down_proj"])
    us = trained(ours)
    optimizer, compiled = torch.optim.SGD(us, lr=0.1), torch.compile(ours, backend="aot_eager")
    tokens = torch.randint(0, 50, (2, 7))
    for _ in range(2):
        actual = torch.autograd.grad(compiled(tokens, labels=tokens).loss, us)
        assert not stacks  # a compiled model has no bank
        expected = torch.autograd.grad(ours(tokens, labels=tokens).loss, us)
        stacks.clear()
        for u, gradient, other in zip(us, actual, expected, strict=True):
            close(gradient, other, 24, c=32)
            u.grad = gradient
        optimizer.step()
    assert counters["stats"]["unique_graphs"] == 1
    cache = StaticCache(config=ours.config, max_cache_len=12)
    with torch.no_grad():
        ours(tokens[:, :4], cache=cache)
        decoded = [compiled(tokens[:, i : i + 1], cache=cache).logits for i in range(4, 7)]
        close(torch.cat(decoded, 1), ours(tokens).logits[:, 4:], 24, c=32)
    assert counters["stats"]["unique_graphs"] == 2 and not counters["graph_break"]


def test_a_compiled_block_of_a_model(x):
    torch._dynamo.reset()
    ours = model()
    expected = gradients(ours, x)
    for block in ours.get_base_model().blocks:
        block["up"].compile(fullgraph=True, backend="aot_eager")
    same(gradients(ours, x), expected)


def test_a_model_inside_another_has_its_own_bank(x, stacks):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Blocks()

        def forward(self, x):
            return self.inner(x) + self.inner(2 * x)

    ours = adapt(Outer().double(), target_modules=TARGETS)
    bank.attach(ours.base_model.model.inner)
    same(gradients(ours, x), alone(gradients, ours, x))
    assert len(stacks) == 6
