"""Every way to write to a parameter or to change a layer is seen."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
from inferred import new, uncached
from peft import HRAConfig
from sidebyside import adapt
from torch import nn

from hra import chain
from hra.base_layer import HRALayer

# Ways to write to a parameter


def fused_optimizer(parameter):
    parameter.grad = new(parameter)
    torch.optim.AdamW([parameter], lr=0.1, fused=True).step()


def in_place(parameter):
    with torch.no_grad():
        parameter.copy_(new(parameter))


def in_place_in_inference_mode(parameter):
    with torch.inference_mode():
        parameter.mul_(new(parameter))


def through_data(parameter):
    parameter.data.copy_(new(parameter))  # as diffusers' EMAModel


def by_data(parameter):
    for _ in range(4):  # so that memory is used again
        parameter.data = parameter.data * new(parameter)


def set_(parameter):
    with torch.no_grad():
        parameter.set_(new(parameter))


def swapped(parameter):
    torch.utils.swap_tensors(parameter, nn.Parameter(new(parameter)))


def numpy(parameter):
    parameter.detach().numpy()[:] = new(parameter)


def storage(parameter):
    parameter.untyped_storage().copy_(new(parameter).untyped_storage())


def one_entry(parameter):
    parameter.detach().numpy()[-1, -1] += 1


def broadcast(parameter):
    """Write to it as rank 1 of two, which are threads here."""
    store = dist.HashStore()

    def rank(number):
        group = dist.ProcessGroupGloo(store, number, 2, timedelta(seconds=60))
        group.broadcast(parameter.detach() if number else new(parameter), 0).wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(rank, range(2)))


WRITES = [fused_optimizer, in_place, in_place_in_inference_mode, through_data, by_data, set_, swapped, numpy, storage]
WRITES += [one_entry, broadcast]

# Ways to change a layer


def load(**options):
    def load(ours):
        ours.load_state_dict({name: new(tensor) for name, tensor in ours.state_dict().items()}, **options)

    return load


def replaced(ours):
    ours.hra_u["default"] = nn.Parameter(new(ours.hra_u["default"]))


def other_kind(ours):
    ours.hra_apply_GS["default"] = not ours.hra_apply_GS["default"]


def other_adapter(ours):
    ours.set_adapter("default" if ours.active_adapters == ["other"] else "other")


def both_adapters(ours):
    ours.set_adapter(["default"] if len(ours.active_adapters) == 2 else ["other", "default"])


def deleted_and_added_again(ours):
    ours.set_adapter("other")
    ours.delete_adapter("default")
    ours.update_layer("default", 4, HRAConfig(r=4, init_weights=False))
    ours.set_adapter("default")


def through_bfloat16(ours):
    ours.to(torch.bfloat16).to(torch.float32)
    ours.hra_u["default"].data[0, 0] *= 1.01


CHANGES = [load(), load(assign=True), replaced, other_kind, other_adapter, both_adapters, deleted_and_added_again]
CHANGES += [through_bfloat16]


@pytest.fixture(params=["kept", "not kept"])
def kept(request, monkeypatch):
    """Have the layers act as on a CPU or as on another device."""
    if request.param == "not kept":
        monkeypatch.setattr(chain, "can_compare", lambda tensors: False)
    return request.param == "kept"


MODES = [(False, torch.no_grad), (True, torch.no_grad), (False, torch.inference_mode)]


def is_seen(change, ours, x, computed=()):
    """Call the layer without gradients before and after a change, in all modes."""
    computed = computed or []
    for training, mode in MODES:
        ours.train(training)
        with mode():
            before = ours(x)
            computed.clear()
            assert torch.equal(ours(x), before) and not computed  # in use
        change()
        with mode():
            after = ours(x)
            assert not torch.equal(after, before)
            computed.clear()
            assert torch.equal(ours(x), after) and not computed  # in use again
        assert torch.equal(uncached(ours, x), after)


@pytest.mark.parametrize("ours", ["linear", "conv"], indirect=True)
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("name", ["hra_u", "weight"])
def test_a_write_is_seen(ours, x, kept, computed, name, write):
    parameter = ours.hra_u["default"] if name == "hra_u" else ours.get_base_layer().weight
    is_seen(lambda: write(parameter), ours, x, computed if kept else [])


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_a_layer_is_seen(ours, x, kept, computed, change):
    is_seen(lambda: change(ours), ours, x, computed if kept else [])


def test_a_write_of_another_process_is_seen(ours, x, kept, tmp_path):
    """Through another mapping of the parameter's shared memory."""
    u, file = ours.hra_u["default"], tmp_path / "u"
    new(u).numpy().tofile(file)
    u.data = torch.from_file(str(file), shared=True, size=u.numel()).view(u.shape)
    is_seen(lambda: np.memmap(file, np.float32, "r+").__imul__(new(u).flatten().numpy()), ours, x)


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_a_write_is_seen_by_a_whole_model(kept, computed, write):
    """Its layers keep their factors, or have them computed together."""
    model, x = whole()
    us = [parameter for name, parameter in model.named_parameters() if name.endswith("hra_u.default")]
    is_seen(lambda: [write(u) for u in us], model, x)
    assert bool(computed) == kept


def whole():
    layers = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16))
    model = adapt(layers, target_modules=["0", "2"]).eval()
    model.add_adapter("other", HRAConfig(r=2, init_weights=False, target_modules=["0", "2"]))
    return model, torch.randn(3, 16)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_the_layers_is_seen_by_a_whole_model(change):
    model, x = whole()
    layers = [module for module in model.modules() if isinstance(module, HRALayer)]
    is_seen(lambda: [change(layer) for layer in layers], model, x)


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("change", [lambda last: in_place(last.hra_u["default"]), replaced], ids=["write", "replaced"])
def test_a_change_during_a_pass_is_seen_in_it(change, trains):
    model, x = whole()
    first, _, last = model.get_base_model()
    with torch.set_grad_enabled(trains):
        before = model(x), model(x)
        hook = first.register_forward_hook(lambda *_: change(last))
        after = model(x)
        hook.remove()
    assert torch.equal(*before) and not torch.allclose(after, before[0])
    torch.testing.assert_close(after, uncached(model, x))  # rounded like factors that are computed together, or not


def test_a_deleted_adapter_is_released():
    model, x = whole()
    with torch.no_grad():
        model(x)
        copies = [weakref.ref(factors[1]) for _, factors in entries(model)]
        assert len(copies) == 2 and all(copy() is not None for copy in copies)
        model.set_adapter("other")
        model.delete_adapter("default")
    gc.collect()
    assert all(copy() is None for copy in copies)


def entries(model):
    layers = [module for module in model.modules() if isinstance(module, HRALayer)]
    return [entry for layer in layers for entry in layer.chain._cache._entries.values()]
