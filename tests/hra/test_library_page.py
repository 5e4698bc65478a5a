"""The Python of docs/library.md and docs/questions.md runs."""

import copy
import re

import peft
import pytest
import torch
from sidebyside import llama

import hra
from support import ROOT

PAGES = {name: (ROOT / f"docs/{name}.md").read_text() for name in ("library", "questions")}
BLOCKS = {
    f"{name}-{number}": block
    for name, text in PAGES.items()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
}


@pytest.fixture
def names(tmp_path, monkeypatch) -> dict:
    """Provide what the blocks use, in a folder with two adapters."""
    monkeypatch.chdir(tmp_path)
    hra.install()
    torch.manual_seed(0)
    base = llama()
    for name in ("ADAPTER", "OTHER"):
        config = peft.HRAConfig(r=8, init_weights=False, target_modules=["q_proj", "v_proj"])
        peft.get_peft_model(copy.deepcopy(base), config).save_pretrained(name)
    inputs = {"input_ids": torch.ones(3, 4, dtype=int), "max_new_tokens": 2}
    return {"base": base, "model": llama(), "inputs": inputs, "copy": copy, "peft": peft, "hra": hra}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_runs(name, names):
    exec(BLOCKS[name], names)
    assert any(".hra_u" in parameter for parameter, _ in names["model"].named_parameters())
    if "small" in names:  # a larger rank starts where the small adapter ended
        tokens = names["inputs"]["input_ids"]
        assert torch.allclose(names["model"](tokens).logits, names["small"](tokens).logits, atol=1e-5)
