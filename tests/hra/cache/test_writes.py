"""Every way to write to a parameter or to change a layer is seen."""

import gc
import weakref

import numpy as np
import pytest
import torch
from inferred import new, uncached
from peft import HRAConfig
from sidebyside import adapt
from torch import nn

from hra import chain
from hra.base_layer import HRALayer


def in_place(parameter):
    with torch.inference_mode():
        parameter.mul_(new(parameter))


def fused_optimizer(parameter):
    parameter.grad = new(parameter)
    torch.optim.AdamW([parameter], lr=0.1, fused=True).step()


def by_data(parameter):
    for _ in range(4):  # so that memory is used again
        parameter.data = parameter.data * new(parameter)


def swapped(parameter):
    torch.utils.swap_tensors(parameter, nn.Parameter(new(parameter)))


def one_entry(parameter):
    parameter.detach().numpy()[-1, -1] += 1


WRITES = [in_place, fused_optimizer, by_data, swapped, one_entry]


def loaded(ours):
    ours.load_state_dict({name: new(tensor) for name, tensor in ours.state_dict().items()}, assign=True)


def replaced(ours):
    ours.hra_u["default"] = nn.Parameter(new(ours.hra_u["default"]))


def other_kind(ours):
    ours.hra_apply_GS["default"] = not ours.hra_apply_GS["default"]


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


CHANGES = [loaded, replaced, other_kind, both_adapters, deleted_and_added_again, through_bfloat16]


@pytest.fixture(params=["kept", "not kept"])
def kept(request, monkeypatch):
    """Have the layers act as on a CPU or as on another device."""
    if request.param == "not kept":
        monkeypatch.setattr(chain, "can_compare", lambda tensors: False)
    return request.param == "kept"


def is_seen(change, ours, x, computed=()):
    """Call the layer without gradients before and after a change, in all modes."""
    computed = computed or []
    for training, mode in ((False, torch.no_grad), (True, torch.no_grad), (False, torch.inference_mode)):
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
def test_a_write_is_seen(ours, x, computed):
    for write in WRITES:
        is_seen(lambda write=write: write(ours.hra_u["default"]), ours, x, computed)
    is_seen(lambda: in_place(ours.get_base_layer().weight), ours, x, computed)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_a_layer_is_seen(ours, x, kept, computed, change):
    is_seen(lambda: change(ours), ours, x, computed if kept else [])


def test_a_write_of_another_process_is_seen(ours, x, tmp_path):
    """Through another mapping of the parameter's shared memory."""
    u, file = ours.hra_u["default"], tmp_path / "u"
    new(u).numpy().tofile(file)
    u.data = torch.from_file(str(file), shared=True, size=u.numel()).view(u.shape)
    is_seen(lambda: np.memmap(file, np.float32, "r+").__imul__(new(u).flatten().numpy()), ours, x)


def whole():
    layers = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16))
    model = adapt(layers, target_modules=["0", "2"]).eval()
    model.add_adapter("other", HRAConfig(r=2, init_weights=False, target_modules=["0", "2"]))
    return model, torch.randn(3, 16)


@pytest.mark.parametrize("change", [*WRITES, *CHANGES], ids=lambda change: change.__name__)
def test_a_write_or_a_change_is_seen_by_a_whole_model(kept, computed, change):
    """Its layers keep their factors, or have them computed together."""
    model, x = whole()
    layers = [module for module in model.modules() if isinstance(module, HRALayer)]
    is_seen(lambda: [change(one.hra_u["default"] if change in WRITES else one) for one in layers], model, x)
    assert bool(computed) == kept or change in CHANGES


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
    layers = [module for module in model.modules() if isinstance(module, HRALayer)]
    with torch.no_grad():
        model(x)
        copies = [weakref.ref(factors[1]) for one in layers for _, factors in one.chain._cache._entries.values()]
        assert len(copies) == 2 and all(copy() is not None for copy in copies)
        model.set_adapter("other")
        model.delete_adapter("default")
    gc.collect()
    assert all(copy() is None for copy in copies)
