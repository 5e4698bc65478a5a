"""Extended adapters that hra 0.2.0 has saved, with another `peft_type`, still load, and are saved as new ones."""

import json

import torch
from peft import PeftModel
from sidebyside import llama
from test_two_sided_files import EACH, adapt

from hra.__main__ import main


@EACH
def test_a_file_of_0_2_0_loads(tmp_path, form):
    llama().save_pretrained(tmp_path / "base")
    base = type(llama())
    model = adapt(base.from_pretrained(tmp_path / "base"), task_type="CAUSAL_LM", **form)
    model.save_pretrained(tmp_path / "new")
    config = tmp_path / "new/adapter_config.json"
    new = config.read_bytes()
    config.write_text(json.dumps(json.loads(new) | {"peft_type": "HRA_EXTENDED"}))
    loaded = PeftModel.from_pretrained(base.from_pretrained(tmp_path / "base"), tmp_path / "new")
    x = torch.arange(12).view(2, 6)
    with torch.no_grad():
        assert torch.equal(loaded(x).logits, model(x).logits)
    assert main(["to-lora", str(tmp_path / "new"), str(tmp_path / "lora")]) in (None, 0)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/adapter_config.json").read_bytes() == new
