"""Count the operations that adapters add to a whole model: exact, and on a GPU the price of small layers."""

import copy

import torch
from peft import get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaModel

BLOCKS, LINEARS = 12, 7


class Count(TorchDispatchMode):
    """Counts dispatched operations by name, views excepted."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if not function.is_view and isinstance(result, (torch.Tensor, tuple, list)):
            self.names.append(function.overloadpacket.__name__)
        return result


def llama():
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}
    return LlamaModel(LlamaConfig(vocab_size=10, use_cache=False, **sizes)).requires_grad_(False)


def count(model):
    """List the operations of the second forward, its backward, and the second inference, under bf16 autocast."""
    x = torch.randn(2, 5, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            model.zero_grad()
            with Count() as forward:
                y = model(inputs_embeds=x).last_hidden_state
            with Count() as backward:
                y.backward(torch.ones_like(y))
        for _ in range(2):
            with torch.no_grad(), Count() as inference:
                model(inputs_embeds=x)
    return [counted.names for counted in (forward, backward, inference)]


def added(config):
    """Count the operations per adapted layer, on top of the frozen model's, in forward, backward and inference."""
    base = llama()
    config.target_modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(copy.deepcopy(base), config)
    counts = zip(count(base), count(adapted), strict=True)
    return [(len(more) - len(less)) / (BLOCKS * LINEARS) for less, more in counts]
