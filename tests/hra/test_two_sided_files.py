"""Adapters of both sides: exported as LoRA, saved, loaded and refused."""

import json
import subprocess
import sys

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel, get_peft_model
from sidebyside import llama
from torch import nn

import hra


def adapt(model: nn.Module, **options) -> nn.Module:
    """Add a random adapter."""
    options = {"r": 4, "init_weights": False, "two_sided": True} | options
    return get_peft_model(model, hra.HRAConfig(**options)).eval()


REFUSAL = (
    "KeyError: 'HRA_EXTENDED: PEFT loads this adapter only with the Python package hra (newer than 0.2.0). Install it, "
    "then run `import hra; hra.install()` first. Or export a LoRA or DoRA for PEFT without it: "
    "`hra to-lora ADAPTER OUT`'"
)
# Runs without `hra`: loads the base model with the exported file, and tries to load the adapter itself.
STOCK = """
import json, sys, torch
from peft import AutoPeftModelForCausalLM, PeftConfig, PeftModel
from transformers import LlamaForCausalLM

def base():
    return LlamaForCausalLM.from_pretrained("base").double().eval()

def refusal(load, *inputs):
    try:
        return f"loaded {load(*inputs)}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

tokens, expected = torch.load("outputs.pt")
(model := base()).load_adapter("lora")
models = PeftModel.from_pretrained(base(), "lora"), model
with torch.no_grad():
    errors = [(one(tokens)[0] - expected).abs().max().item() for one in models]
loads = PeftConfig.from_pretrained, AutoPeftModelForCausalLM.from_pretrained, base().load_adapter
refused = [refusal(load, "adapter") for load in loads]
assert "hra" not in sys.modules
print(json.dumps([errors, [*refused, refusal(PeftModel.from_pretrained, base(), "adapter")]]))
"""


def test_stock_PEFT_reads_the_exported_file_and_refuses_the_adapter_with_what_to_do(tmp_path):
    tokens = torch.arange(12).view(2, 6)
    llama().save_pretrained(tmp_path / "base")
    model = adapt(type(llama()).from_pretrained(tmp_path / "base").double(), target_modules=["q_proj", "down_proj"])
    model.save_pretrained(tmp_path / "adapter")
    hra.to_lora(model, tmp_path / "lora")
    with torch.no_grad():
        torch.save((tokens, expected := model(tokens)[0]), tmp_path / "outputs.pt")
        with model.disable_adapter():
            assert (model(tokens)[0] - expected).abs().max() > 1e-4
    done = subprocess.run([sys.executable, "-c", STOCK], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    errors, refused = json.loads(done.stdout.splitlines()[-1])
    assert max(errors) < 1e-9 and refused == [REFUSAL] * 4


@pytest.mark.parametrize("kind", [None, "HRA_EXTENDED"], ids=["now", "0.2.0"])
def test_a_file_also_of_0_2_0_loads_and_comes_back_byte_for_byte(tmp_path, kind):
    """0.2.0 wrote another `peft_type`."""
    llama().save_pretrained(tmp_path / "base")
    base, x = type(llama()), torch.arange(12).view(2, 6)
    model = adapt(base.from_pretrained(tmp_path / "base"), r=3, task_type="CAUSAL_LM", init_scale=0.25)
    model.save_pretrained(first := tmp_path / "first")
    new = (first / "adapter_config.json").read_text()
    config = json.loads(new)
    assert config["peft_type"] in REFUSAL and config["init_scale"] == 0.25
    assert config["two_sided"] is True and "magnitudes" not in config
    (first / "adapter_config.json").write_text(json.dumps(config | {"peft_type": kind}) if kind else new)
    loaded = PeftModel.from_pretrained(base.from_pretrained(tmp_path / "base"), first)
    loaded.save_pretrained(tmp_path / "second")
    assert (tmp_path / "second/adapter_config.json").read_text() == new
    name = "adapter_model.safetensors"
    assert (first / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    auto = AutoPeftModelForCausalLM.from_pretrained(first)
    (plain := base.from_pretrained(tmp_path / "base")).load_adapter(first)
    with torch.no_grad():  # in the same form as that of the loaded models, which are not trained
        for other in (loaded, auto, plain):
            assert torch.equal(other.eval()(x).logits, model(x).logits)
    options = {"is_trainable": True, "low_cpu_mem_usage": True}
    again = PeftModel.from_pretrained(base.from_pretrained(tmp_path / "base"), first, **options).eval()
    gradients = []
    for one in (model, again):
        one(x, labels=x).loss.backward()
        gradients.append([p.grad for p in one.parameters() if p.requires_grad])
    assert len(gradients[0]) == len(gradients[1]) and all(map(torch.equal, *gradients))


def test_a_configuration_with_other_options_keeps_its_type(tmp_path):
    hra.HRAConfig(init_scale=0.5).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "HRA" and config["init_scale"] == 0.5 and "two_sided" not in config
