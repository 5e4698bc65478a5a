"""The plugin of docs/your-own-code.md with which axolotl trains HRA."""

import math
import re
import shutil

import pytest
import yaml
from trainer_commands import ONLY_OURS, check_merged, history, moved, prepare, shell, vectors

from own_code import blocks, recipe

PLUGIN, CONFIG = (recipe(f"axolotl/{name}") for name in ("hra_axolotl.py", "hra.yml"))
(COMMANDS,) = blocks("axolotl", "bash")
TRAIN = "axolotl train hra.yml --launcher python"
SUMS = {"path": "sums.json", "ds_type": "json", "type": "alpaca"}
FIELDS = {"field_prompt": "instruction", "field_chosen": "chosen", "field_rejected": "rejected"}
FORMATS = {f"{field}_format": f"{{{field}}}" for field in ("prompt", "chosen", "rejected")}
PAIRS = {"path": "pairs.json", "ds_type": "json", "split": "train", "type": FIELDS | FORMATS}
SMALL = {
    "datasets": [SUMS],
    "sequence_len": 512,
    "num_epochs": 2,
    "learning_rate": 5e-2,
    "bf16": False,
    "tf32": False,
    "logging_steps": 1,
    "save_strategy": "epoch",
    "special_tokens": {"pad_token": "<pad>"},
}
pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.parametrize("tool", ["axolotl"], indirect=True)]


@pytest.fixture
def folder(tmp_path):
    prepare(tmp_path)
    (tmp_path / "hra_axolotl.py").write_text(ONLY_OURS + PLUGIN)
    configure(tmp_path)
    return tmp_path


def configure(folder, **keys):
    (folder / "hra.yml").write_text(yaml.safe_dump(yaml.safe_load(CONFIG) | SMALL | keys))


def run(folder, tool, text):
    return shell(folder, tool, "export PYTHONPATH=.\n" + text)


def test_train_and_merge_then_resume_bit_identical(folder, tool):
    shell(folder, tool, COMMANDS)
    assert moved(folder / "OUT")
    assert all(entry["penalty"] > 0 for entry in history(folder / "OUT/checkpoint-8"))
    check_merged(folder, "OUT", "OUT/merged")

    whole = vectors(folder / "OUT")
    (folder / "OUT/adapter_model.safetensors").unlink()
    shutil.rmtree(folder / "OUT/checkpoint-8")
    configure(folder, auto_resume_from_checkpoints=True)
    assert "resume from checkpoint at OUT/checkpoint-4" in run(folder, tool, TRAIN)
    assert all((one == whole[name]).all() for name, one in vectors(folder / "OUT").items())


def test_the_reference_of_dpo_is_the_model_without_adapter(folder, tool):
    configure(folder, rl="dpo", datasets=[PAIRS])
    run(folder, tool, TRAIN)
    first, *others = history(folder / "OUT/checkpoint-8")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert others[-1]["loss"] < 0.6 and moved(folder / "OUT")


def test_quantisation_that_would_not_happen_is_an_error(folder, tool):
    configure(folder, load_in_4bit=True)
    with pytest.raises(AssertionError, match=re.escape("remove load_in_4bit and load_in_8bit")):
        run(folder, tool, TRAIN)
