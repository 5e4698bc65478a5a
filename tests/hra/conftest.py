import pytest
import torch
from peft import get_peft_model
from sidebyside import Net, config_of, llama

from installed_layers import installed  # noqa: F401


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def images():
    return torch.randn(6, 3, 6, 7)


@pytest.fixture
def saved(tmp_path, request):
    """Write a tiny base model and an adapter of it, with the options of an indirect parameter, to folders."""
    base = llama()
    base.save_pretrained(tmp_path / "base")
    model = type(base).from_pretrained(tmp_path / "base")  # whose place the adapter states
    config = config_of(r=4, init_weights=False, task_type="CAUSAL_LM", **getattr(request, "param", {}))
    model = get_peft_model(model, config)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path, model.eval()
