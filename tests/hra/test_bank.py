"""The bank in training: the gradients of layers that compute their own factors, in every way a model is trained."""

import copy
import gc
import io
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from dispatches import added
from peft import HRAConfig, LoraConfig, get_peft_model, inject_adapter_in_model
from sidebyside import adapt, close
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from hra import bank, base_layer
from hra.base_layer import HRALayer


class Blocks(nn.Module):
    """Two kinds of layers in four blocks, one layer called twice, one unused, one convolution."""

    def __init__(self, checkpointing=None):
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1)
        self.more = nn.Conv2d(8, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.blocks = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(8, 12), "down": nn.Linear(12, 8)}) for _ in range(4))
        self.shared = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 12)
        self.checkpointing = checkpointing

    def block(self, block, x):
        return x + block["down"](torch.tanh(block["up"](torch.tanh(self.shared(x)))))

    def forward(self, x):
        x = self.again(torch.tanh(self.more(torch.tanh(self.conv(x))))).movedim(1, -1)
        for block in self.blocks:
            if self.checkpointing is None:
                x = self.block(block, x)
            else:
                x = checkpoint(self.block, block, x, use_reentrant=self.checkpointing)
        return x


TARGETS = ["conv", "more", "again", "up", "down", "shared", "unused"]


def model(dtype=torch.float64, **config):
    torch.manual_seed(0)
    return adapt(Blocks().to(dtype), r=4, target_modules=TARGETS, **config)


@pytest.fixture
def x():
    return torch.randn(2, 2, 5, 5, dtype=torch.float64)


@pytest.fixture(params=[False, True], ids=["chain", "infinite"])
def ours(request):
    return model(apply_GS=request.param)


@pytest.fixture(autouse=True)
def stacks(monkeypatch):
    """Collect the numbers of layers whose factors are computed together."""
    stacks, apply = [], bank._Stacked.apply

    def spy(apply_GS, dtype, *us):
        stacks.append(len(us))
        return apply(apply_GS, dtype, *us)

    monkeypatch.setattr(bank._Stacked, "apply", spy)
    return stacks


def alone(function, *arguments):
    """Call it with every layer computing its own factors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_layer, "bank_of_this_pass", lambda: None)
        return function(*arguments)


def gradients(model, x, run=None):
    model.zero_grad()
    (model if run is None else run)(x).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def same(actual, expected, c=32, dtype=None):
    assert set(actual) == set(expected)
    for name, gradient in expected.items():
        assert (gradient is None) == (actual[name] is None), name
        if gradient is not None:
            close(actual[name], gradient, 72, c=c, dtype=dtype)


def test_the_same_outputs_and_gradients(ours, x, stacks):
    y, expected = alone(ours, x), alone(gradients, ours, x)
    assert not stacks
    close(ours(x), y, 72)
    same(gradients(ours, x), expected)
    assert sorted(stacks) == sorted(2 * [2, 4, 6])  # two convolutions, down; up, shared and unused
    assert [name for name, gradient in expected.items() if gradient is None] == [
        name for name in expected if "unused" in name
    ]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_bits_in_every_dtype_but_for_a_layer_called_twice(dtype, autocast, x):
    ours = model(dtype)
    results = []
    for call in (lambda *arguments: alone(*arguments), lambda function, *arguments: function(*arguments)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = call(ours, x.to(dtype))
        ours.zero_grad()
        y.float().square().sum().backward()
        results.append((y, {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}))
    assert torch.equal(results[0][0], results[1][0])
    same(results[1][1], results[0][1], dtype=torch.bfloat16 if autocast or dtype == torch.bfloat16 else dtype)


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


def trained(module):
    return [p for p in module.parameters() if p.requires_grad]


def test_accumulation_over_two_batches(ours, x):
    expected = {}
    for part in (x, 2 * x):
        for name, gradient in alone(gradients, ours, part).items():
            expected[name] = gradient if gradient is None else expected.get(name, 0) + gradient
    ours.zero_grad()
    for part in (x, 2 * x):
        ours(part).square().sum().backward()
    same({name: p.grad for name, p in ours.named_parameters() if p.requires_grad}, expected)


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.first(x), self.second(x)


def test_parts_of_one_forward_pass_are_differentiated_separately_and_again(x, stacks):
    """Today two losses without a common layer need no retain_graph; both kinds of backward passes must still do."""
    ours = adapt(Towers().double(), target_modules=["first", "second"])
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    first, second = ours(x)
    assert stacks == [2]
    first.sum().backward()
    u, v = (getattr(ours.base_model.model, name).hra_u["default"] for name in ("first", "second"))
    assert u.grad is not None and v.grad is None
    second.sum().backward(retain_graph=True)
    once = v.grad.clone()
    second.sum().backward()
    close(v.grad, 2 * once, 4)


def test_each_layer_that_has_its_gradient_may_be_changed():
    """As by an optimiser inside of the backward pass, which changes a layer once its gradient is complete."""
    ours = adapt(Towers().double(), target_modules=["first", "second"])
    first, second = ours.base_model.model.first, ours.base_model.model.second
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    y, z = ours(x)
    expected = alone(lambda: torch.autograd.grad(second(x).sum(), second.hra_u["default"]))[0]
    y.sum().backward()
    with torch.no_grad():
        first.hra_u["default"].mul_(2)
    z.sum().backward()
    close(second.hra_u["default"].grad, expected, 4)


def test_a_change_between_forward_and_backward_is_an_error_as_for_any_layer(ours, x):
    y = ours(x).sum()
    with torch.no_grad():
        next(p for name, p in ours.named_parameters() if "blocks.0.up" in name and "hra_u" in name).mul_(2)
    with pytest.raises(RuntimeError, match=r"modified in place|modified by an inplace operation"):
        y.backward()


def test_gradients_of_gradients(ours, x):
    us = [p for name, p in ours.named_parameters() if "hra_u" in name and "unused" not in name]

    def second_order():
        first = torch.autograd.grad(ours(x).tanh().sum(), us, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), us)

    for actual, expected in zip(second_order(), alone(second_order), strict=True):
        close(actual, expected, 72, c=320)


def test_training_a_few_steps(ours, x):
    other = copy.deepcopy(ours)  # with its hooks

    def train(model):
        optimizer = torch.optim.AdamW(trained(model), lr=1e-2)
        for _ in range(4):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            with torch.no_grad():
                model.eval()(x)
                model.train()
        return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    same(train(ours), alone(train, other), c=3200)


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
    monkeypatch.setattr(base_layer, "can_compare", lambda us: False)


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


def test_a_submodule_called_alone_computes_its_own(ours, stacks):
    run, block = ours.get_base_model().block, ours.get_base_model().blocks[0]
    run(block, torch.randn(3, 8, dtype=torch.float64)).sum().backward()
    assert not stacks and block["up"].hra_u["default"].grad is not None


ENDS = [KeyboardInterrupt, SystemExit, GeneratorExit, RuntimeError]  # a hook of PyTorch's sees the last one only


class Interrupt:
    """Raises the error in the next call of a module, and forgets it."""

    def __init__(self, module, error):
        self.error = error
        module.register_forward_pre_hook(self)

    def __call__(self, *_):
        error, self.error = self.error, None
        if error is not None:
            raise error


def fused_step(us):
    """Change parameters without raising their version counters, as the Trainer's default optimizer does."""
    torch.optim.AdamW([u for u in us if u.grad is not None], lr=0.1, fused=True).step()


@pytest.mark.parametrize("kept", [False, True], ids=["", "traceback kept"])  # as in a notebook
@pytest.mark.parametrize("error", ENDS)
def test_no_forward_pass_uses_the_bank_of_an_interrupted_one(ours, x, error, kept):
    gradients(ours, x)
    Interrupt(ours.get_base_model().blocks[2]["down"], error)
    with pytest.raises(error) as caught:
        ours(x)
    if not kept:
        del caught
        assert bank.current() is None
    for _ in range(2):
        fused_step(trained(ours))
        same(gradients(ours, x), alone(gradients, ours, x))


@pytest.mark.parametrize("error", ENDS)
def test_nor_does_a_part_of_the_model_even_if_the_traceback_is_kept(ours, x, error):
    inner = ours.get_base_model()
    features = torch.randn(3, 8, dtype=torch.float64)
    Interrupt(ours.get_base_model().blocks[2]["down"], error)
    with pytest.raises(error) as caught:
        ours(x)

    def run(x):
        return inner.block(inner.blocks[0], x)

    for _ in range(3):
        same(gradients(ours, features, run), alone(gradients, ours, features, run))
        fused_step(trained(ours))
    assert caught


def interrupted(x, place):
    """Interrupt a pass of a model there, and return a weak reference to one of its layers."""
    ours = model()
    layer = ours.get_base_model().blocks[2]["down"]
    outer = nn.Sequential(nn.Identity(), ours)
    bank.attach(outer)
    interrupt = Interrupt(nn.Module() if place == "backward" else layer, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        with torch.set_grad_enabled(place != "without gradients"):
            y = (outer if place == "inner model" else ours)(x)
        layer.hra_u["default"].register_hook(interrupt)
        y.sum().backward()
    assert bank.current() is None
    return weakref.ref(layer)


@pytest.mark.parametrize("place", ["forward", "without gradients", "inner model", "backward", "thread"])
def test_an_interrupted_model_is_freed(x, place):
    gc.freeze()  # so that only what comes now is searched
    with ThreadPoolExecutor(1) as pool:
        layer = pool.submit(interrupted, x, place).result() if place == "thread" else interrupted(x, place)
        gc.collect()
        assert layer() is None
    gc.unfreeze()


def test_keywords_of_a_forward_pass_are_those_of_the_caller(ours, x):
    """Also where a hook collects them, and copies them or writes them to a file."""
    seen = []
    ours.get_base_model().register_forward_hook(lambda *call: seen.append(call[2]), with_kwargs=True)
    ours(x=x)
    for keywords in (*seen, copy.deepcopy(*seen), pickle.loads(pickle.dumps(*seen))):
        assert torch.equal(keywords.pop("x"), x) and not keywords
    assert type(copy.copy(*seen)) is dict and bank.current() is None


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x, labels):
        return {"loss": (self.second(torch.tanh(self.first(x))) - labels).square().mean()}


def test_the_trainer_goes_on_learning_after_an_interrupt(tmp_path):
    """The losses of a training whose first attempt was ended by Ctrl-C are those of a fresh one."""
    from transformers import Trainer, TrainingArguments

    data = [{"x": torch.randn(6), "labels": torch.randn(6)} for _ in range(4)]
    where = {"output_dir": str(tmp_path), "save_strategy": "no", "report_to": [], "use_cpu": True, "disable_tqdm": True}
    options = TrainingArguments(
        max_steps=4, per_device_train_batch_size=4, learning_rate=0.05, logging_steps=1, weight_decay=0, **where
    )
    assert "fused" in options.optim
    losses = []
    for error in (None, KeyboardInterrupt):
        torch.manual_seed(0)
        ours = adapt(Regression(), target_modules=["first", "second"])
        trainer = Trainer(ours, options, train_dataset=data)
        if error is not None:
            Interrupt(ours.get_base_model().second.get_base_layer(), error)
            with pytest.raises(error) as caught:  # and its traceback is kept, as in a notebook
                trainer.train()
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[1] == pytest.approx(losses[0]) and caught
    assert losses[0] == sorted(set(losses[0]), reverse=True) and len(losses[0]) == 4


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
    assert all(layer.stackable("default") is None for layer in empty.modules() if isinstance(layer, HRALayer))
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
def test_a_compiled_model_has_no_graph_break(ours, x, stacks):
    torch._dynamo.reset()
    expected = gradients(ours, x)
    stacks.clear()
    same(gradients(ours, x, torch.compile(ours, fullgraph=True, backend="aot_eager")), expected)
    assert not stacks and bank.current() is None


def test_a_compiled_block_of_a_model(ours, x):
    torch._dynamo.reset()
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


# Operations


def test_operations_of_a_layer():
    forward, backward, inference = added(HRAConfig(r=4))
    assert forward <= 3 and backward <= 5 and inference <= 2
    lora = added(LoraConfig(r=4))
    assert forward < lora[0] and backward < lora[1] and inference < lora[2]


def test_operations_of_a_layer_with_infinite_lambda_none_of_which_synchronises():
    forward, backward, inference = added(HRAConfig(r=4, apply_GS=True))
    assert forward <= 4.5 and backward <= 5 and inference <= 2


def test_no_operation_of_a_step_synchronises(ours, x):
    """On a GPU these wait for its results: a number is read, or a factorisation checks for errors."""
    waiting = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_linalg_check_errors", "_linalg_eigh"}
    waiting |= {"linalg_cholesky", "linalg_inv", "_linalg_svd", "_linalg_solve_ex", "linalg_eigh", "item"}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            assert function.overloadpacket.__name__ not in waiting
            return function(*arguments, **(keywords or {}))

    with Watch():
        gradients(ours, x)
        alone(gradients, ours, x)
    assert any(isinstance(m, HRALayer) for m in ours.modules())


# Memory, and what cannot be stacked


def test_no_more_is_kept_for_the_backward_pass_than_V_and_B_of_all_layers(ours, x):
    def kept():
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = ours(x)
        return sum(sizes.values()), y

    us = sum(p.numel() * p.element_size() for name, p in ours.named_parameters() if "hra_u" in name)
    assert kept()[0] - alone(kept)[0] <= 2 * us
    assert bank.current() is None  # nothing else refers to it


@pytest.mark.parametrize("mark", ["ds_id", "_is_fsdp_managed_module"], ids=["ZeRO-3", "FSDP"])
def test_sharded_layers_compute_their_own_in_every_pass(ours, x, stacks, mark):
    layers = [module for module in ours.modules() if isinstance(module, HRALayer)]
    for layer in layers:
        setattr(layer.hra_u["default"] if mark == "ds_id" else layer, mark, True)
    gradients(ours, x)
    assert not stacks
