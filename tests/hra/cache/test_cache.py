"""Factors that need no gradient: kept on a CPU, computed once a forward pass on other devices, and never stale."""

import copy
import io
import pickle
import threading

import pytest
import torch
from inferred import infer, new, uncached
from peft import HRAConfig
from sidebyside import adapt, close, layer
from torch import nn


def test_the_same_result_as_with_gradients(ours, x):
    infer(ours, x)
    close(infer(ours, x), ours(x.clone().requires_grad_()), 16)


def test_merging_disabling_and_their_inverses_are_seen(ours, x, computed):
    y, base = infer(ours, x), infer(ours.base_layer, x)
    for _ in range(2):
        ours.merge()
        close(infer(ours, x), y, 64)
        ours.enable_adapters(False)
        close(infer(ours, x), base, 64)
        ours.unmerge()
        close(infer(ours, x), base, 64)
        ours.enable_adapters(True)
        close(infer(ours, x), y, 64)
        assert torch.equal(infer(ours, x), uncached(ours, x))


def test_gradients_come_back_as_soon_as_they_are_needed(ours, x, computed):
    us = [p.requires_grad_(False) for p in ours.parameters() if p.requires_grad]
    frozen = ours(x)
    computed.clear()
    assert torch.equal(ours(x), frozen) and not computed  # in use without torch.no_grad, too
    (gradient,) = torch.autograd.grad(ours(x.requires_grad_()).square().sum(), x)
    assert not computed
    for u in us:
        u.requires_grad_(True)
    expected = torch.autograd.grad(ours(x).square().sum(), (x, *us))
    assert computed
    close(gradient, expected[0], 64)
    assert all(one.ne(0).any() for one in expected)


def test_made_in_inference_mode_it_serves_a_backward_pass(ours, x):
    ours.requires_grad_(False)
    with torch.inference_mode():
        ours(x)
    ours.get_base_layer().weight.requires_grad_()
    both = ours, copy.deepcopy(ours)
    x.requires_grad_()
    gradients = [torch.autograd.grad(one(x).square().sum(), (x, one.get_base_layer().weight)) for one in both]
    for found, expected in zip(*gradients, strict=True):
        close(found, expected, 64)


def test_dtypes_of_input_and_autocast_have_their_own_factors(ours, x):
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float32):
        for autocast in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                assert torch.equal(infer(ours, x.to(dtype)), uncached(ours, x.to(dtype)))


def test_inference_tensors_are_compared_like_others(computed):
    with torch.inference_mode():
        ours, x = layer(nn.Linear(16, 8)), torch.randn(5, 16)
        before = ours(x)
        assert torch.equal(ours(x), before) and len(computed) == 1
        ours.hra_u["default"].normal_()
        assert not torch.equal(ours(x), before) and len(computed) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_files_have_no_cache(ours, x, copied):
    ours.set_adapter(["default", "other"])
    size = len(pickle.dumps(ours))
    y = infer(ours, x)
    assert len(pickle.dumps(ours)) == size
    buffer = io.BytesIO()
    torch.save(ours.state_dict(), buffer)
    buffer.seek(0)
    assert all(type(tensor) is torch.Tensor for tensor in torch.load(buffer).values())
    other = copied(ours)
    assert not other.chain._cache._entries
    assert torch.equal(infer(other, x), y)
    other.hra_u["default"].data.normal_()
    assert torch.equal(infer(other, x), uncached(other, x)) and torch.equal(infer(ours, x), y)


def test_the_adapters_of_samples_are_each_kept(net, images, computed):
    model = adapt(net).eval()
    model.add_adapter("other", HRAConfig(target_modules=["first"], r=2, init_weights=False))
    names = ["default", "__base__", "other", "other", "default", "__base__"]
    with torch.no_grad():
        mixed = model(images, adapter_names=names)
        computed.clear()
        assert torch.equal(model(images, adapter_names=names), mixed) and not computed
        model.base_model.model.first.hra_u["other"].normal_()
        assert not torch.equal(model(images, adapter_names=names), mixed)
        assert torch.equal(model(images, adapter_names=names), copy.deepcopy(model)(images, adapter_names=names))


def test_transforms_of_torch_func_neither_read_nor_fill_it(ours, x):
    ours.requires_grad_(False)
    y = infer(ours, x)
    name, u = next((name, u) for name, u in ours.named_parameters() if "default" in name)
    with torch.no_grad():
        other = new(u)
        functional = torch.func.functional_call(ours, {name: other}, (x,))
        batched = torch.func.vmap(lambda u: torch.func.functional_call(ours, {name: u}, (x,)))(torch.stack([u, other]))
    assert torch.equal(infer(ours, x), y)
    close(batched[0], y, 64)
    close(batched[1], functional, 64)
    ours.chain._cache.clear()
    gradient = torch.func.grad(lambda x: ours(x).square().sum())(x)
    assert not ours.chain._cache._entries
    close(gradient, torch.autograd.grad(ours(x.requires_grad_()).square().sum(), x)[0], 64)


def test_a_dry_run_on_fake_tensors_leaves_nothing(ours, x):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        ours(x)
    assert torch.equal(infer(ours, x), uncached(ours, x))


@pytest.mark.parametrize("needed", [False, True])
def test_a_compiled_layer_is_not_bound_to_the_cache(needed):
    torch._dynamo.reset()
    ours, x = layer(nn.Linear(16, 8)), torch.randn(5, 16)
    y = infer(ours, x)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(needed):
        close(compiled(x), y, 64)
        ours.hra_u["default"].data.normal_()
        close(compiled(x), uncached(ours, x), 64)


def test_threads_see_whole_entries(ours, x):
    """A thread that changes u announces it; every result is that of an u before or after."""
    states = [new(ours.hra_u["default"]) for _ in range(2)]
    outputs, wrong = [], []
    for state in states:
        ours.hra_u["default"].data.copy_(state)
        outputs.append(infer(ours, x))
    stop = threading.Event()

    def read():
        while not stop.is_set():
            y = infer(ours, x)
            if not any(torch.equal(y, output) for output in outputs):
                wrong.append(y)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(200):
        ours.hra_u["default"] = nn.Parameter(states[i % 2].clone())
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert torch.equal(infer(ours, x), outputs[1])
