"""The exact LoRA export."""

import copy

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from sidebyside import BIASES, TARGETS, adapt, close, layer
from torch import nn

import hra
from hra import checks


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"apply_GS": True},
        {"r": 3},
        *({"bias": bias} for bias in BIASES),
        {"target_modules": ["conv", "first"], "modules_to_save": ["second"]},
        {"target_modules": ".*(first|second)"},
    ],
)
@pytest.mark.parametrize("stock", [False, True])
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


@pytest.mark.parametrize("config", [*({"bias": bias} for bias in BIASES), {"modules_to_save": ["second"]}])
def test_exported_dora_gives_the_same_outputs(net, images, tmp_path, config):
    """With trained biases, which are added to what DoRA scales, and with a trained module."""
    targets = TARGETS[: 2 if "modules_to_save" in config else 3]
    options = hra.HRAConfig(r=4, two_sided=True, magnitudes=True, target_modules=targets, **config)
    model = get_peft_model(copy.deepcopy(net), options)
    for p in model.parameters():
        if p.requires_grad:
            p.data += 0.1 * torch.randn_like(p)
    _, state = hra.to_lora(model, tmp_path)
    assert state["base_model.model.conv.lora_magnitude_vector.weight"].shape == (1, 4, 1, 1)
    loaded = PeftModel.from_pretrained(copy.deepcopy(net), tmp_path)
    close(loaded(images), model(images), 168)
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


def test_a_base_weight_that_cannot_be_read_is_refused():
    class PackedLinear(nn.Module):
        in_features = out_features = 6

        def __init__(self):
            super().__init__()
            self.register_buffer("qweight", torch.randn(6, 6))

    with pytest.raises(ValueError, match=r"weight of 0 that can be dequantised .*found one of PackedLinear"):
        hra.to_lora(adapt(nn.Sequential(PackedLinear()), target_modules=["0"]))


def test_what_cannot_be_exported_is_an_error(net, tmp_path):
    model = adapt(net)
    with pytest.raises(KeyError, match="expected one of the adapters"):
        hra.to_lora(model, adapter_name="missing")
    model.get_base_model().first.hra_u["default"].data[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"to_lora: first: expected finite .*, found NaN or infinity"):
        hra.to_lora(model)
    model = adapt(net)
    model.merge_adapter()
    with pytest.raises(ValueError, match="unmerge_adapter"):
        hra.to_lora(model)
    lora = get_peft_model(net, LoraConfig(target_modules=["first"]))
    with pytest.raises(ValueError, match="found LORA"):
        hra.to_lora(lora)
    for base in (nn.Conv2d(3, 4, 3, dilation=2), nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")):
        model = adapt(nn.Sequential(base), target_modules=["0"])
        with pytest.raises(ValueError, match="LoRA ignores both"):
            hra.to_lora(model, tmp_path)
    with pytest.raises(ValueError, match="0 has 2 groups; an equivalent LoRA would have rank 2 r"):
        hra.to_lora(adapt(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), target_modules=["0"]))


@pytest.mark.skipif(not hasattr(peft, "convert_to_lora"), reason="this PEFT converts nothing to LoRA")
def test_pefts_conversion_which_would_take_H_for_an_addition_refuses(net, monkeypatch):
    # As with tests/hra/upstream/3360-0001-exact-conversion-to-lora.patch.
    monkeypatch.setattr(checks.PeftHRALayer, "supports_lora_conversion", lambda *arguments: True)
    with pytest.raises(TypeError, match=r"do not support LoRA conversion: .*hra\.layers\.Linear"):
        peft.convert_to_lora(adapt(net), rank=4)


def test_a_layer_without_the_adapter_has_no_factors():
    with pytest.raises(KeyError, match=r"expected one of the adapters .*default.*, found .*missing"):
        layer(nn.Linear(6, 3)).get_factors(["missing"])
