"""Factors that need no gradient: kept on a CPU, computed once a forward pass on other devices, and never stale."""

import copy
import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
from dispatches import Count
from peft import HRAConfig
from sidebyside import adapt, close, layer
from torch import nn

from hra import base_layer


@pytest.fixture(params=["linear", "linear, infinite", "conv"])
def ours(request):
    base = nn.Conv2d(4, 8, 3, padding=1) if request.param == "conv" else nn.Linear(16, 8)
    ours = layer(base, apply_GS=request.param == "linear, infinite")
    ours.update_layer("other", 2, HRAConfig(r=2, init_weights=False))
    ours.set_adapter("default")
    return ours


@pytest.fixture
def x(ours):
    return torch.randn(2, 4, 5, 6) if isinstance(ours.get_base_layer(), nn.Conv2d) else torch.randn(5, 16)


@pytest.fixture
def computed(monkeypatch):
    """Collect the numbers of adapters whose factors a layer computes."""
    computed, product = [], base_layer.product

    def spy(us, kinds):
        computed.append(len(us))
        return product(us, kinds)

    monkeypatch.setattr(base_layer, "product", spy)
    return computed


@torch.no_grad()
def infer(ours, x):
    return ours(x)


def uncached(ours, x):
    return infer(copy.deepcopy(ours), x)


def new(u):
    return torch.randn(u.shape, dtype=u.dtype)


# Ways to write to a parameter


def optimizer(kind, **how):
    def write(parameter):
        parameter.grad = new(parameter)
        kind([parameter], lr=0.1, **how).step()

    return write


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


def dlpack(parameter):
    torch.from_dlpack(torch.utils.dlpack.to_dlpack(parameter.detach())).copy_(new(parameter))


def storage(parameter):
    parameter.untyped_storage().copy_(new(parameter).untyped_storage())


def one_entry(parameter):
    parameter.detach().numpy()[-1, -1] += 1


def collective(call):
    """Write to it as rank 1 of two, which are threads here."""

    def write(parameter):
        store = dist.HashStore()

        def rank(number):
            group = dist.ProcessGroupGloo(store, number, 2, timedelta(seconds=60))
            call(group, number, [parameter.detach() if number else new(parameter)])

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(rank, range(2)))

    return write


HOW = {"fused": {"fused": True}, "foreach": {"foreach": True}, "for-loop": {"foreach": False}}
WRITES = {
    f"{kind.__name__}, {name}": optimizer(kind, **how)
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)
    for name, how in HOW.items()
}
WRITES |= {
    "broadcast": collective(lambda group, rank, tensors: group.broadcast(tensors[0], 0).wait()),
    "all_reduce": collective(lambda group, rank, tensors: group.allreduce(tensors[0]).wait()),
    "recv": collective(lambda group, rank, tensors: [group.send, group.recv][rank](tensors, 1 - rank, 0).wait()),
}
for write in (in_place, in_place_in_inference_mode, through_data, by_data, set_, swapped, numpy, dlpack, storage):
    WRITES[write.__name__] = write
WRITES["one entry"] = one_entry

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
        monkeypatch.setattr(base_layer, "can_compare", lambda tensors: False)
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


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("name", ["hra_u", "weight"])
def test_a_write_is_seen(ours, x, kept, computed, name, write):
    parameter = ours.hra_u["default"] if name == "hra_u" else ours.get_base_layer().weight
    is_seen(lambda: WRITES[write](parameter), ours, x, computed if kept else [])


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_a_layer_is_seen(ours, x, kept, computed, change):
    is_seen(lambda: change(ours), ours, x, computed if kept else [])


def test_a_write_of_another_process_is_seen(ours, x, kept, tmp_path):
    """Through another mapping of the parameter's shared memory."""
    u, file = ours.hra_u["default"], tmp_path / "u"
    new(u).numpy().tofile(file)
    u.data = torch.from_file(str(file), shared=True, size=u.numel()).view(u.shape)
    is_seen(lambda: np.memmap(file, np.float32, "r+").__imul__(new(u).flatten().numpy()), ours, x)


@pytest.mark.parametrize("write", WRITES)
def test_a_write_is_seen_by_a_whole_model(kept, computed, write):
    """Its layers keep their factors, or have them computed together."""
    layers = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16))
    model, x = adapt(layers, target_modules=["0", "2"]), torch.randn(3, 16)
    us = [parameter for name, parameter in model.named_parameters() if "hra_u" in name]
    is_seen(lambda: [WRITES[write](u) for u in us], model, x)
    assert bool(computed) == kept


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
    u = ours.hra_u["default"].requires_grad_(False)
    frozen = ours(x)
    computed.clear()
    assert torch.equal(ours(x), frozen) and not computed  # in use without torch.no_grad, too
    (gradient,) = torch.autograd.grad(ours(x.requires_grad_()).square().sum(), x)
    assert not computed
    u.requires_grad_(True)
    expected = torch.autograd.grad(ours(x).square().sum(), (x, u))
    assert computed
    close(gradient, expected[0], 64)
    assert expected[1].ne(0).any()


def test_made_in_inference_mode_it_serves_a_backward_pass(ours, x):
    ours.requires_grad_(False)
    with torch.inference_mode():
        ours(x)
    x.requires_grad_()
    close(*(torch.autograd.grad(one(x).square().sum(), x)[0] for one in (ours, copy.deepcopy(ours))), 64)


def test_a_trained_base_weight_gets_its_gradient(ours, x):
    ours.requires_grad_(False)
    infer(ours, x)
    weight = ours.get_base_layer().weight.requires_grad_()
    actual, expected = (
        torch.autograd.grad(one(x).sum(), one.get_base_layer().weight) for one in (ours, copy.deepcopy(ours))
    )
    assert torch.equal(*actual, *expected) and weight.requires_grad


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
    assert not other._cache._entries
    assert torch.equal(infer(other, x), y)
    other.hra_u["default"].data.normal_()
    assert torch.equal(infer(other, x), uncached(other, x)) and torch.equal(infer(ours, x), y)


def test_layers_that_share_a_weight_see_its_changes(x, ours):
    other = copy.deepcopy(ours)
    other.get_base_layer().weight = ours.get_base_layer().weight
    other.hra_u["default"] = ours.hra_u["default"]
    before = infer(ours, x), infer(other, x)
    ours.hra_u["default"].data.normal_()
    after = infer(ours, x)
    assert torch.equal(infer(other, x), after) and not torch.equal(after, before[0])
    ours.train()
    ours.hra_u["default"].data.normal_()
    assert torch.equal(infer(other, x), uncached(other, x))


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
    ours._cache.clear()
    gradient = torch.func.grad(lambda x: ours(x).square().sum())(x)
    assert not ours._cache._entries
    close(gradient, torch.autograd.grad(ours(x.requires_grad_()).square().sum(), x)[0], 64)


def test_a_dry_run_on_fake_tensors_leaves_nothing(ours, x):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        ours(x)
    assert torch.equal(infer(ours, x), uncached(ours, x))


@pytest.mark.parametrize("needed", [False, True])
def test_a_compiled_layer_is_not_bound_to_the_cache(x, ours, needed):
    torch._dynamo.reset()
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


def test_operations_of_a_convolution_in_inference():
    """A copy of Bᵀ, W B, and two convolutions, of which the second adds its result."""
    for dtype in (torch.float32, torch.bfloat16):
        ours, x = layer(nn.Conv2d(4, 8, 3).to(dtype)), torch.randn(2, 4, 6, 6).to(dtype)
        counts = []
        for module in (ours.base_layer, ours, ours):
            with torch.no_grad(), Count() as counted:
                module(x)
            counts.append(len(counted.names))
        assert counts[2] - counts[0] == 4 < counts[1]
