"""The exact export as LoRA."""

import copy

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from sidebyside import BIASES, adapt, close, layer
from torch import nn

import hra
from hra import checks

CONFIGS = [
    {},
    {"apply_GS": True},
    {"r": 3},
    *({"bias": bias} for bias in BIASES),
    {"target_modules": ["conv", "first"], "modules_to_save": ["second"]},
    {"target_modules": ".*(first|second)"},
]


@pytest.mark.parametrize("stock", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
def test_exported_lora_gives_the_same_outputs(net, images, tmp_path, config, stock):
    model = adapt(net, stock, **config)
    for p in model.parameters():
        if p.requires_grad:
            p.data += 0.1 * torch.randn_like(p)  # including biases and saved modules
    returned, state = hra.to_lora(model, tmp_path)
    assert returned.r == returned.lora_alpha == config.get("r", 4)
    loaded = PeftModel.from_pretrained(copy.deepcopy(net), tmp_path)
    assert isinstance(loaded.peft_config["default"], LoraConfig)
    close(loaded(images), model(images), 168)
    assert set(load_file(tmp_path / "adapter_model.safetensors")) == set(state)
    close(loaded.merge_and_unload()(images), model(images), 168)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_export_of_other_dtypes(dtype, tmp_path):
    net, x = nn.Sequential(nn.Linear(16, 8)).to(dtype), torch.randn(5, 16).to(dtype)
    model = adapt(net, target_modules=["0"])
    hra.to_lora(model, tmp_path)
    close(PeftModel.from_pretrained(copy.deepcopy(net), tmp_path)(x), model(x), 4)


def test_one_adapter_of_several_is_exported_by_name(net, images, tmp_path):
    model = adapt(net)
    model.add_adapter("other", model.peft_config["default"])
    hra.to_lora(model, tmp_path, adapter_name="other")
    model.set_adapter("other")
    close(PeftModel.from_pretrained(copy.deepcopy(net), tmp_path)(images), model(images), 168)


def on(base, **config):
    return lambda net: adapt(nn.Sequential(base), target_modules=["0"], **config)


def with_value(tensor, value, **config):
    def build(net):
        model = on(nn.Linear(6, 5), **config)(net)
        getattr(model.base_model.model[0], tensor)["default"].data[2] = value
        return model

    return build


def merged(net):
    (model := adapt(net)).merge_adapter()
    return model


class PackedLinear(nn.Module):
    in_features = out_features = 6

    def __init__(self):
        super().__init__()
        self.register_buffer("qweight", torch.randn(6, 6))


NOT_FINITE = r"to_lora: 0: expected finite .*, found NaN or infinity"
MIRRORED = {"padding": 1, "padding_mode": "reflect"}
REFUSED = [
    (lambda net: get_peft_model(net, LoraConfig(target_modules=["first"])), "found LORA"),
    (merged, "unmerge_adapter"),
    (with_value("hra_u", torch.inf), NOT_FINITE),
    (with_value("hra_u", torch.nan), NOT_FINITE),
    (on(nn.Conv2d(3, 4, 3, dilation=2)), "LoRA ignores both"),
    (on(nn.Conv2d(3, 4, 3, **MIRRORED)), "LoRA ignores both"),
    (on(nn.Conv2d(8, 8, 3, groups=2)), "0 has 2 groups; an equivalent LoRA would have rank 2 r"),
    (on(PackedLinear()), r"weight of 0 that can be dequantised .*found one of PackedLinear"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED)
def test_what_cannot_be_exported_is_an_error(net, build, message):
    model = build(net)
    with pytest.raises(ValueError, match=message):
        hra.to_lora(model)


def test_an_unknown_adapter_is_an_error(net):
    with pytest.raises(KeyError, match="expected one of the adapters"):
        hra.to_lora(adapt(net), adapter_name="missing")


@pytest.mark.skipif(not hasattr(peft, "convert_to_lora"), reason="this PEFT converts nothing to LoRA")
def test_pefts_conversion_which_would_take_H_for_an_addition_refuses(net, monkeypatch):
    # As with tests/hra/upstream/3360-0001-exact-conversion-to-lora.patch.
    monkeypatch.setattr(checks.PeftHRALayer, "supports_lora_conversion", lambda *arguments: True)
    with pytest.raises(TypeError, match=r"do not support LoRA conversion: .*hra\.layers\.Linear"):
        peft.convert_to_lora(adapt(net), rank=4)


def test_a_layer_without_the_adapter_has_no_factors():
    with pytest.raises(KeyError, match=r"expected one of the adapters .*default.*, found .*missing"):
        layer(nn.Linear(6, 3)).get_factors(["missing"])
