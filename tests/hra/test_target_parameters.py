"""Stacked experts, which are parameters: left out with a warning."""

import warnings

import pytest
import torch
from peft import HRAConfig, PeftConfig, get_peft_model
from sidebyside import llama
from torch import nn

import hra


def mixtral() -> nn.Module:
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_experts_per_tok": 2, "num_local_experts": 3}
    return MixtralForCausalLM(MixtralConfig(**sizes, **heads))


def test_files_are_those_of_peft(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    options = {"r": 4, "target_modules": ["q_proj"]}
    hra.HRAConfig(**options).save_pretrained(ours)
    HRAConfig(**options).save_pretrained(theirs)
    written = (theirs / "adapter_config.json").read_text()
    assert (ours / "adapter_config.json").read_text() == written
    with_parameters = written.replace('"r": 4', '"r": 4, "target_parameters": ["experts.down_proj"]')
    (ours / "adapter_config.json").write_text(with_parameters)
    hra.install()
    with pytest.raises(ValueError, match=r"found `target_parameters`\. Use hra 0\.2\.0"):
        PeftConfig.from_pretrained(ours)


@pytest.mark.parametrize("wanted", ["all-linear", ["q_proj", "gate_proj", "up_proj", "down_proj"]])
def test_experts_that_are_left_out_are_named(wanted):
    base = mixtral()
    fraction = sum(p.numel() for p in base.model.layers[0].mlp.experts.parameters() if p.dim() == 3)
    fraction /= sum(p.numel() for p in base.parameters())
    message = rf"2 parameters with {fraction:.0%} of its weights \(experts.down_proj, experts.gate_up_proj\)"
    with pytest.warns(UserWarning, match=message):
        get_peft_model(base, hra.HRAConfig(r=4, target_modules=wanted))


@pytest.mark.parametrize(("build", "wanted"), [(mixtral, ["q_proj"]), (llama, "all-linear")])
def test_nothing_is_said_of_experts_that_were_not_asked_for(build, wanted):
    tokens = torch.randint(0, 50, (2, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        get_peft_model(build(), hra.HRAConfig(r=4, target_modules=wanted))(tokens)
