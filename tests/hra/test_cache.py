"""The cache in inference: in use wherever nothing has changed, and never stale."""

import copy
import io
import pickle
import threading

import pytest
import torch
from dispatches import Count
from peft import HRAConfig
from sidebyside import adapt, close, layer
from torch import nn

from hra.base_layer import HRALayer
from hra.cache import Watched

SEVERAL = {"target_modules": ["conv", "first", "second"]}


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


@pytest.fixture(autouse=True)
def computed(monkeypatch):
    """Collect the layers whose factors are computed."""
    computed, get_factors = [], HRALayer.get_factors

    def spy(self, names):
        computed.append(self)
        return get_factors(self, names)

    monkeypatch.setattr(HRALayer, "get_factors", spy)
    return computed


@torch.no_grad()
def infer(ours, x):
    return ours(x)


def uncached(ours, x):
    return infer(copy.deepcopy(ours), x)


def new(u):
    return torch.randn(u.shape, dtype=u.dtype)


def step(optimizer):
    def change(ours):
        u = ours.hra_u["default"]
        u.grad = new(u)
        optimizer([u], lr=0.1).step()

    return change


def load(**options):
    def change(ours):
        ours.load_state_dict({name: new(tensor) for name, tensor in ours.state_dict().items()}, **options)

    return change


def in_place(ours):
    with torch.no_grad():
        ours.hra_u["default"].copy_(new(ours.hra_u["default"]))


def in_place_in_inference_mode(ours):
    with torch.inference_mode():
        ours.hra_u["default"].mul_(new(ours.hra_u["default"]))


def through_data(ours):
    ours.hra_u["default"].data.copy_(new(ours.hra_u["default"]))


def by_data(ours):
    ours.hra_u["default"].data = new(ours.hra_u["default"])


def as_an_average_of_weights(ours):
    for parameter in ours.parameters():  # diffusers' EMAModel
        parameter.data.copy_(new(parameter).data)


def replaced(ours):
    ours.hra_u["default"] = nn.Parameter(new(ours.hra_u["default"]))


def other_adapter(ours):
    ours.set_adapter("other")


def both_adapters(ours):
    ours.set_adapter(["other", "default"])


def deleted_and_added_again(ours):
    ours.delete_adapter("default")
    ours.update_layer("default", 4, HRAConfig(r=4, init_weights=False))
    ours.set_adapter("default")


def deleted(ours):
    with pytest.warns(UserWarning, match="Setting active adapter to other"):
        ours.delete_adapter("default")


def through_bfloat16(ours):
    ours.to(torch.bfloat16).to(torch.float32)


def narrow_weight_data(ours):
    weight = ours.get_base_layer().weight
    for _ in range(4):  # so that memory is used again
        weight.data = weight.data * 2


def weight_in_place(ours):
    with torch.no_grad():
        ours.get_base_layer().weight.mul_(2)


def weight_through_data(ours):
    ours.get_base_layer().weight.data.mul_(2)


def weight_loaded(ours):
    weight = ours.get_base_layer().weight
    ours.get_base_layer().load_state_dict({"weight": weight * 3}, strict=False)


def swapped(ours):
    torch.utils.swap_tensors(ours.hra_u["default"], nn.Parameter(new(ours.hra_u["default"])))


CHANGES = [
    step(torch.optim.SGD),
    step(torch.optim.AdamW),
    load(),
    load(assign=True),
    in_place,
    in_place_in_inference_mode,
    through_data,
    by_data,
    as_an_average_of_weights,
    replaced,
    swapped,
    other_adapter,
    both_adapters,
    deleted_and_added_again,
    deleted,
    through_bfloat16,
    narrow_weight_data,
    weight_in_place,
    weight_through_data,
    weight_loaded,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__qualname__.removesuffix(".<locals>.change"))
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_change_is_seen(ours, x, computed, change, mode):
    with mode():
        before = ours(x)
        computed.clear()
        assert torch.equal(ours(x), before) and not computed  # in use
    change(ours)
    with mode():
        after = ours(x)
        assert not torch.equal(after, before)
        computed.clear()
        assert torch.equal(ours(x), after) and not computed  # in use again
    assert torch.equal(uncached(ours, x), after)


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


def test_an_inference_tensor_has_no_version_so_nothing_is_kept(computed):
    with torch.inference_mode():
        ours, x = layer(nn.Linear(16, 8)), torch.randn(5, 16)
        before = ours(x)
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


@pytest.mark.parametrize(
    "emptied",
    [lambda ours, x: ours.train(), lambda ours, x: ours.eval(), lambda ours, x: ours.cpu(), lambda ours, x: ours(x)],
    ids=["train", "eval", "moved", "forward with gradients"],
)
def test_parameters_are_plain_again_for_training(ours, x, emptied):
    """Optimisers take their fast implementation for plain parameters only."""
    infer(ours, x)
    assert type(ours.hra_u["default"]) is Watched
    emptied(ours, x)
    assert not ours._cache._entries
    for parameter in ours.parameters():
        assert type(parameter) is nn.Parameter and not parameter.__dict__


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
    ours.train()
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


def test_two_operations_a_convolution_in_inference():
    for dtype in (torch.float32, torch.bfloat16):
        ours, x = layer(nn.Conv2d(4, 8, 3).to(dtype)), torch.randn(2, 4, 6, 6).to(dtype)
        counts = []
        for module in (ours.base_layer, ours, ours):
            with torch.no_grad(), Count() as counted:
                module(x)
            counts.append(len(counted.names))
        assert counts[2] - counts[0] == 2 < counts[1]
