"""Tiny mixture-of-experts models and the adapters of their stacked experts."""

import copy
from functools import cache

import torch
from peft import get_peft_model
from torch import nn

import hra
from hra import experts

NAMES = ["experts.gate_up_proj", "experts.down_proj"]
KINDS = ["mixtral", "qwen3_moe", "gpt_oss"]
PLACE = "base_model.model.model.layers.0.mlp.experts"
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


@cache
def built(kind: str) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_experts_per_tok": 2, "num_local_experts": 3}
    own = {
        "mixtral": {},
        "qwen3_moe": {"num_experts": 3, "moe_intermediate_size": 24},
        "gpt_oss": {"layer_types": ["full_attention"], "pad_token_id": 0, "rope_parameters": {"rope_type": "default"}},
    }
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **heads | own[kind]))
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=0.4)
    return model.eval()


def adapted(base: nn.Module, **config) -> nn.Module:
    config = {"r": 4, "init_weights": False, "target_parameters": NAMES, "target_modules": []} | config
    return get_peft_model(copy.deepcopy(base), hra.HRAConfig(**config)).eval()


def wrappers(model: nn.Module) -> dict[str, experts.ParamWrapper]:
    outer = model.get_submodule(PLACE)
    return {one.parameter_name: one for one in (outer, outer.base_layer)}
