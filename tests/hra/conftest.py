import pytest
import torch
from peft import HRAConfig, get_peft_model
from sidebyside import Net, llama

from installed_layers import installed  # noqa: F401


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def images():
    return torch.randn(6, 3, 6, 7)


@pytest.fixture
def saved(tmp_path):
    """Write a tiny base model and an adapter of it to folders."""
    base = llama()
    base.save_pretrained(tmp_path / "base")
    model = type(base).from_pretrained(tmp_path / "base")  # whose place the adapter states
    model = get_peft_model(model, HRAConfig(r=4, init_weights=False, task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path, model.eval()
