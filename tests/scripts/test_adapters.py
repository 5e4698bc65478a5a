"""Parameter counts of the paper's models, and what is trainable."""

import json

from hra_workflow.models import adapters
from support import method


def test_equal_runs_give_equal_files(tmp_path):
    path = tmp_path / "adapter_config.json"
    texts = []
    for order in (["b", "a"], ["a", "b"]):
        path.write_text(json.dumps({"target_modules": order, "r": 8}))
        adapters.sort_config(path)
        texts.append(path.read_text())
    assert texts[0] == texts[1]


def test_adalora_schedule_follows_the_number_of_steps():
    config = adapters.peft_config(method("adalora"), total_steps=200)
    assert (config.tinit, config.tfinal, config.total_step) == (20, 60, 200)
    stated = method("adalora")
    stated["peft"] |= {"tinit": 5, "tfinal": 7}  # as a preset may, in steps
    config = adapters.peft_config(stated, total_steps=200)
    assert (config.tinit, config.tfinal, config.total_step) == (5, 7, 200)


def test_oft_takes_a_block_size_without_r():
    config = adapters.peft_config(method("oft", peft={"oft_block_size": 16}))
    assert (config.r, config.oft_block_size) == (0, 16)
