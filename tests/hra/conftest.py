import pytest
import torch
from peft import HRAConfig, get_peft_model
from sidebyside import Net

import hra


@pytest.fixture(autouse=True)
def installed():
    torch.manual_seed(0)
    hra.install()
    yield
    hra.uninstall()


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def images():
    return torch.randn(6, 3, 6, 7)


@pytest.fixture
def saved(tmp_path):
    """Write a tiny base model and an adapter of it to folders."""
    from transformers import LlamaConfig, LlamaForCausalLM

    base = LlamaForCausalLM(
        LlamaConfig(vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    )
    base.save_pretrained(tmp_path / "base")
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(tmp_path / "base"),
        HRAConfig(r=4, init_weights=False, task_type="CAUSAL_LM"),
    )
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path, model.eval()
