"""The files of docs/your-own-code.md with which LLaMA-Factory trains HRA."""

import json
import math
import re
import shutil

import pytest
import yaml
from trainer_commands import ONLY_OURS, SUMS, check_merged, history, moved, prepare, shell, vectors

from own_code import blocks, recipe
from support import ROOT

START, TRAIN, CONFIG = (recipe(f"llamafactory/{name}") for name in ("start.py", "train.py", "sft.yaml"))
(COMMANDS,) = blocks("LLaMA-Factory", "bash")
SMALL = {
    "dataset_dir": ".",
    "dataset": "sums",
    "cutoff_len": 128,
    "per_device_train_batch_size": 4,
    "num_train_epochs": 2,
    "learning_rate": 5e-2,
    "logging_steps": 1,
    "save_strategy": "epoch",
    "report_to": "none",
    "use_cpu": True,
}
pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.parametrize("tool", ["llamafactory"], indirect=True)]


@pytest.fixture
def folder(tmp_path):
    prepare(tmp_path)
    preferences = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    data = {"sums": {"file_name": "sums.json"}}
    data["pairs"] = {"file_name": "pairs.json", "ranking": True, "columns": preferences}
    (tmp_path / "dataset_info.json").write_text(json.dumps(data))
    (tmp_path / "start.py").write_text(START)
    (tmp_path / "train.py").write_text(ONLY_OURS + TRAIN)
    # LLaMA-Factory imports torchaudio, for audio only. The one on PyPI needs libraries of CUDA.
    (tmp_path / "torchaudio.py").touch()
    configure(tmp_path)
    return tmp_path


def configure(folder, **keys):
    (folder / "sft.yaml").write_text(yaml.safe_dump(yaml.safe_load(CONFIG) | SMALL | keys))


def run(folder, tool, text, typed=""):
    return shell(folder, tool, text, typed, PYTHONPATH=str(folder))


def test_start_train_export_and_chat(folder, tool):
    configure(folder, num_train_epochs=10)
    run(folder, tool, COMMANDS)
    assert not moved(folder / "start") and moved(folder / "OUT")
    assert all(entry["penalty"] > 0 for entry in history(folder / "OUT"))
    answer = check_merged(folder, "OUT", "MERGED")
    assert "It is" in answer
    chat = "llamafactory-cli chat --model_name_or_path MODEL --adapter_name_or_path OUT --template llama3"
    # Threads of the chat can abort its process when it ends.
    typed = SUMS[0]["instruction"] + "\nexit\n"
    assert answer in run(folder, tool, f"{chat} --do_sample false --max_new_tokens 9 || true", typed)


def test_resumed_training_is_bit_identical_and_two_processes_train(folder, tool):
    start, train, _ = COMMANDS.strip().splitlines()
    train, several = re.fullmatch(r"(.*?) +# on 8 GPUs: (.*)", train).groups()
    run(folder, tool, f"{start}\n{train}")
    whole = vectors(folder / "OUT")
    for rest in folder.glob("OUT/*.*"):
        rest.unlink()
    shutil.rmtree(folder / "OUT/checkpoint-8")
    assert "Resuming training from OUT/checkpoint-4" in run(folder, tool, train)
    assert all((one == whole[name]).all() for name, one in vectors(folder / "OUT").items())

    configure(folder, output_dir="SHARED", ddp_backend="gloo")
    run(folder, tool, several.replace("8", "2"))
    assert moved(folder / "SHARED")
    assert len(history(folder / "SHARED")) == len(history(folder / "OUT")) / 2


def test_the_reference_of_dpo_is_the_model_without_adapter(folder, tool):
    configure(folder, stage="dpo", dataset="pairs")
    run(folder, tool, "python start.py\npython train.py sft.yaml")
    first, *others = history(folder / "OUT")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert others[-1]["loss"] < 0.6 and moved(folder / "OUT")


def test_the_patch_adds_a_finetuning_type(folder, tool):
    config = yaml.safe_load((folder / "sft.yaml").read_text()) | {"finetuning_type": "hra", "stage": "dpo"}
    config |= {"dataset": "pairs", "hra_rank": 8, "lora_target": "q_proj,v_proj", "adapter_name_or_path": None}
    (folder / "sft.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(AssertionError, match="finetuning_type"):
        run(folder, tool, "python train.py sft.yaml")

    (package,) = tool.parents[1].glob("lib/python*/site-packages/llamafactory")
    shutil.copytree(package, folder / "src/llamafactory")
    run(folder, tool, f"git apply {ROOT}/tests/hra/upstream/llamafactory-0.9.5-hra.patch")
    export = COMMANDS.splitlines()[-1] + " --finetuning_type hra"
    printed = shell(folder, tool, f"python train.py sft.yaml\n{export}", PYTHONPATH=f"{folder}/src:{folder}")
    assert moved(folder / "OUT") and "Created reference model" not in printed
    assert history(folder / "OUT")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    check_merged(folder, "OUT", "MERGED")
