"""Adapter files have PEFT's names and load both ways."""

import copy
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from sidebyside import BIASES, adapt, close, trainable
from torch import nn

import hra
from hra.base_layer import HRALayer


@pytest.mark.parametrize("bias", ["none", *BIASES])
def test_file_has_PEFTs_names_shapes_and_dtypes(net, tmp_path, bias):
    for stock in (False, True):
        adapt(net, stock, bias=bias).save_pretrained(tmp_path / str(stock))
    ours, theirs = (load_file(tmp_path / f"{s}/adapter_model.safetensors") for s in (False, True))
    assert {k: (v.shape, v.dtype) for k, v in ours.items()} == {k: (v.shape, v.dtype) for k, v in theirs.items()}
    assert ours["base_model.model.conv.hra_u"].shape == (27, 4)
    for name in ours:
        assert torch.equal(ours[name], theirs[name])
    configs = [json.loads((tmp_path / f"{stock}/adapter_config.json").read_text()) for stock in (False, True)]
    for config in configs:
        config["target_modules"].sort()
    assert configs[0] == configs[1]


def test_a_PEFT_that_would_not_save_trained_biases_is_refused(net, monkeypatch):
    monkeypatch.setattr("hra.checks.saves_biases", lambda bias: False)
    with pytest.raises(ValueError, match=r"bias='all': expected a PEFT that writes .* Install PEFT 0\.21 or newer"):
        adapt(net, bias="all")


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize("saved_by_stock", [False, True])
@pytest.mark.parametrize("config", [{}, {"apply_GS": True}, {"r": 3}])
def test_adapters_load_both_ways(net, images, tmp_path, config, saved_by_stock, low_cpu_mem_usage):
    saved = adapt(net, saved_by_stock, **config)
    saved.save_pretrained(tmp_path)
    if not saved_by_stock:
        hra.uninstall()
    loaded = PeftModel.from_pretrained(copy.deepcopy(net), tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
    assert isinstance(loaded.base_model.model.first, HRALayer) == saved_by_stock
    close(loaded(images), saved(images), 168)


@pytest.mark.parametrize(("r", "options"), [(3, {}), (3, {"is_trainable": True, "low_cpu_mem_usage": True}), (6, {})])
def test_an_adapter_that_could_not_start_here_loads(tmp_path, r, options):
    """An odd r, and one above the width."""
    net, x = nn.Sequential(nn.Linear(4, 5)), torch.randn(7, 4)
    saved = adapt(net, stock=True, r=r, init_weights=True, target_modules=["0"])
    saved.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(net), tmp_path, **options)
    close(loaded(x), saved(x), 16)
    assert bool(trainable(loaded)) == bool(options)


def test_an_adapter_trained_by_PEFT_0_15_loads():
    folder = Path(__file__).parent / "peft015"
    spec = importlib.util.spec_from_file_location("peft015", folder / "make.py")
    spec.loader.exec_module(made := importlib.util.module_from_spec(spec))
    tensors = load_file(folder / "model.safetensors")
    x, y = tensors.pop("x"), tensors.pop("y")
    base = made.Old()
    base.load_state_dict(tensors)
    assert not torch.allclose(base(x), y, atol=1e-2)
    model = PeftModel.from_pretrained(base, folder)
    assert isinstance(model.base_model.model.conv, HRALayer)
    close(model(x), y, 27)
