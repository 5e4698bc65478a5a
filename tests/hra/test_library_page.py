"""The example of both sides and magnitudes in docs/library.md, and what stock PEFT does with its file."""

import json
import re

import peft
import pytest
from sidebyside import llama

import hra
from support import ROOT


def test_the_example_is_adapted_on_both_sides_and_stock_peft_refuses_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/library.md").read_text()
    section = page.partition("\n## Both sides and magnitudes\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {"model": llama()}
    exec(example, names)
    layer = names["model"].get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    shapes = [tuple(getattr(layer, name)["default"].shape) for name in ("hra_u", "hra_u_out", "hra_magnitudes")]
    assert shapes == [(16, 4), (16, 4), (16,)]
    kind = json.loads((tmp_path / "ADAPTER/adapter_config.json").read_text())["peft_type"]
    assert kind in " ".join(section.split())  # as stock PEFT prints it
    hra.uninstall()
    with pytest.raises(KeyError, match=re.escape(kind)):
        peft.PeftModel.from_pretrained(llama(), tmp_path / "ADAPTER")
