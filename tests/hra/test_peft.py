"""Stock PEFT calls: agreement with PEFT's own layers, adapter objects, files in both directions."""

import copy

import peft
import pytest
import torch
from peft import HRAConfig, HRAModel, get_peft_model, inject_adapter_in_model
from peft.tuners.hra.layer import HRALayer as PeftHRALayer
from sidebyside import BIASES, TARGETS, adapt, close, llama, trainable

import hra
from hra.base_layer import HRALayer

CONFIGS = {
    "chain": {},
    "paired": {"init_weights": True},
    "odd": {"r": 3},
    "infinite": {"apply_GS": True},
    "one": {"r": 1},
    **{f"bias {bias}": {"bias": bias} for bias in BIASES},
    "some layers": {"target_modules": ["conv", "first"], "modules_to_save": ["second"]},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_agrees_with_stock_PEFT(net, images, config):
    ours, theirs = adapt(net, **config), adapt(net, stock=True, **config)
    theirs.load_state_dict(ours.state_dict())  # same initialisation, names and shapes
    assert set(trainable(ours)) == set(trainable(theirs))
    outputs, inputs = [], []
    for model in (ours, theirs):
        x = images.clone().requires_grad_()
        y = model(x)
        y.square().sum().backward()
        outputs.append(y), inputs.append(x.grad)
    close(outputs[0], outputs[1], 168)
    close(inputs[0], inputs[1], 168)
    for name, p in trainable(ours).items():
        close(p.grad, trainable(theirs)[name].grad, 168, c=32)
    for model in (ours, theirs):
        model.merge_adapter()
    for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        close(mine, other, 168)
    close(ours(images), outputs[1], 168)
    ours.unmerge_adapter()
    close(ours(images), outputs[0], 168)
    close(ours.merge_and_unload(safe_merge=True)(images), outputs[0], 168)


@pytest.mark.parametrize("config", [{}, {"apply_GS": True}])
def test_two_active_adapters_agree_with_stock_PEFT(net, images, config):
    ours, theirs = adapt(net, **config), adapt(net, stock=True, **config)
    for model in (ours, theirs):
        second = {"target_modules": ["first", "second"], "r": 2, "init_weights": False}
        model.add_adapter("other", HRAConfig(**second))
        model.base_model.set_adapter(["default", "other"])
    theirs.load_state_dict(ours.state_dict())
    y = ours(images)
    close(y, theirs(images), 168)
    ours.merge_adapter()
    close(ours(images), y, 168)
    ours.unmerge_adapter()
    close(ours(images), y, 168)


# Installation


def test_install_and_uninstall_are_idempotent_and_complete(net):
    assert peft.HRAModel is hra.tuner.HRAModel
    assert peft.tuners.hra.HRALinear is hra.layers.Linear
    hra.install()
    hra.uninstall()
    hra.uninstall()
    assert peft.HRAModel is peft.tuners.HRAModel is HRAModel
    stock = get_peft_model(copy.deepcopy(net), HRAConfig(target_modules=["first"]))
    assert type(stock.base_model) is HRAModel
    hra.install()
    ours = get_peft_model(copy.deepcopy(net), HRAConfig(target_modules=["first"]))
    assert isinstance(ours.base_model, HRAModel)
    assert isinstance(ours.base_model.model.first, PeftHRALayer)
    hra.uninstall()
    ours.add_adapter("later", HRAConfig(target_modules=["second"]))
    assert isinstance(ours.base_model.model.second, HRALayer)


def test_models_made_by_name_and_by_injection_have_these_layers(net):
    config = HRAConfig(target_modules=TARGETS, r=4)
    for model in (
        peft.HRAModel(copy.deepcopy(net), config, "default").model,
        inject_adapter_in_model(config, copy.deepcopy(net)),
    ):
        assert isinstance(model.conv, hra.layers.Conv2d)
        assert isinstance(model.first, hra.layers.Linear)


# Adapters


def test_adapters_are_switched_disabled_and_deleted(net, images):
    model = adapt(net)
    base, first = net(images), model(images)
    model.add_adapter("other", HRAConfig(target_modules=["first"], r=2, init_weights=False))
    assert torch.equal(model(images), first)
    model.set_adapter("other")
    second = model(images)
    assert not torch.allclose(first, second)
    assert not any(name.endswith("default") for name in trainable(model))
    with model.disable_adapter():
        close(model(images), base, 168)
    assert torch.equal(model(images), second)
    model.set_adapter("default")
    model.delete_adapter("other")
    assert torch.equal(model(images), first) and not any("other" in name for name in model.state_dict())
    assert "other" not in model.base_model.model.first._all_available_adapter_names()
    assert torch.equal(model.unload()(images), base)


def test_adapter_names_choose_the_adapter_of_each_sample(net, images):
    model = adapt(net).eval()
    model.add_adapter("other", HRAConfig(target_modules=["first"], r=2, init_weights=False))
    names = ["default", "__base__", "other", "other", "default", "__base__"]
    mixed = model(images, adapter_names=names)
    alone = {"__base__": net(images), "default": model(images)}
    model.set_adapter("other")
    alone["other"] = model(images)
    for i, name in enumerate(names):
        close(mixed[i], alone[name][i], 168)
    assert torch.equal(model(images), alone["other"])  # no hook remains


@pytest.mark.parametrize(
    ("names", "prepare", "message"),
    [
        (["default"] * 5, lambda model: None, "for each of the 6 inputs, found 5"),
        (["missing"] * 6, lambda model: None, "missing"),
        (["default"] * 6, lambda model: model.train(), "training"),
        (["default"] * 6, lambda model: model.merge_adapter(), "unmerge_adapter"),
    ],
)
def test_adapter_names_that_cannot_be_followed_are_an_error(net, images, names, prepare, message):
    model = adapt(net).eval()
    prepare(model)
    with pytest.raises(ValueError, match=message):
        model(images, adapter_names=names)
    model.eval()
    model(images)


def test_a_transformers_model():
    base, tokens = llama(2), torch.randint(0, 50, (2, 7))
    config = HRAConfig(r=4, init_weights=False, layers_to_transform=[1], task_type="CAUSAL_LM")
    model = get_peft_model(copy.deepcopy(base), config)
    adapted = [name.rpartition("layers.")[2] for name, m in model.named_modules() if isinstance(m, HRALayer)]
    assert adapted == ["1.self_attn.q_proj", "1.self_attn.v_proj"]
    model.gradient_checkpointing_enable()
    model.train()
    model(input_ids=tokens, labels=tokens).loss.backward()
    assert all(p.grad.isfinite().all() for p in trainable(model).values())
    model.eval()
    out = model(tokens).logits
    model.merge_adapter()
    close(model(tokens).logits, out, 24, c=32)
    model.unmerge_adapter()
    generated = model.generate(input_ids=tokens, adapter_names=["default", "__base__"], num_beams=2, max_new_tokens=4)
    for name, row in (("default", 0), ("__base__", 1)):
        alone = model.generate(input_ids=tokens, adapter_names=[name, name], num_beams=2, max_new_tokens=4)
        assert torch.equal(generated[row], alone[row])
    all_linear = get_peft_model(base, HRAConfig(r=4, target_modules="all-linear"))
    assert isinstance(all_linear.base_model.model.model.layers[0].mlp.down_proj, HRALayer)
