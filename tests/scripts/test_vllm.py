"""Answers by vLLM, in a process of its own."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import generate_math
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import causal_lm, vllm_process
from sums import answers, said

# vLLM 0.33's functions with the parameters that are used. The answers are the prompts' numbers of tokens.
STAND_IN = """
import os
from types import SimpleNamespace

class LLM:
    def __init__(self, model: str, *, tokenizer: str | None = None, dtype: str = "auto", seed: int = 0,
                 generation_config: str = "auto", enable_lora: bool = False, max_lora_rank: int = 16):
        assert dtype == "float32" and generation_config == "vllm" and max_lora_rank == (8 if enable_lora else 16)
        self.model, self.tokenizer, self.lora = model, tokenizer, enable_lora

    def answer(self, ids: list[int], limit: int, adapter: str | None) -> tuple[str, str]:
        assert os.environ["HRA_STARTED_BY"]
        return str(len(ids)), "length"

    def generate(self, prompts, sampling_params=None, *, use_tqdm: bool = True, lora_request=None):
        assert (lora_request is not None) == self.lora
        for prompt, sampling in zip(prompts, sampling_params, strict=True):
            adapter = lora_request and lora_request.lora_path
            text, reason = self.answer(prompt["prompt_token_ids"], sampling.max_tokens, adapter)
            yield SimpleNamespace(outputs=[SimpleNamespace(text=text, finish_reason=reason)])

class SamplingParams:
    def __init__(self, *, temperature: float = 1.0, max_tokens: int | None = 16, stop: list[str] | None = None,
                 stop_token_ids: list[int] | None = None):
        assert temperature == 0 and stop is None and stop_token_ids == [3, 2]  # of tokenizer and generation config
        self.max_tokens = max_tokens
"""
REQUEST = """
class LoRARequest:
    def __init__(self, lora_name: str, lora_int_id: int, lora_path: str = ""):
        assert lora_int_id > 0 and lora_path
        self.lora_path = lora_path
"""


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """Provide the folder of a package `vllm` that a child process finds."""
    package = tmp_path / "site/vllm"
    (package / "lora").mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN)
    (package / "lora/request.py").write_text(REQUEST)
    (package.parent / "vllm-0.33.0.dist-info").mkdir()
    (package.parent / "vllm-0.33.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: vllm\nVersion: 0.33.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("HRA_VLLM_PYTHON", f"{Path(sys.executable).parent}/./python")  # in a process of its own
    vllm_process.version.cache_clear()
    yield package
    vllm_process.version.cache_clear()
    for name in ("vllm", "vllm.lora", "vllm.lora.request"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("chosen", [None, "/nonexistent/python"])
def test_vllm_that_is_not_there_is_said_before_the_export(trained, monkeypatch, chosen):
    if chosen:
        monkeypatch.setenv("HRA_VLLM_PYTHON", chosen)
    vllm_process.version.cache_clear()
    monkeypatch.setattr(generate_math.Run, "exported", lambda *_: pytest.fail("exported"))
    with pytest.raises(JobError, match=rf"found none in {chosen or sys.executable}\. .*set HRA_VLLM_PYTHON"):
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
    (vllm / "__init__.py").write_text("raise RuntimeError('no CUDA')")
    with pytest.raises(JobError, match="vLLM ended with status 1"):
        answers(trained, backend="vllm", serve="lora")


@pytest.mark.slow
def test_vllm_gives_the_answers_of_the_adapter_merged_and_as_a_lora(trained, vllm, monkeypatch):
    """Answers by transformers from the exported model or adapter, in this process to save imports."""
    from peft import PeftModel

    def answer(engine, ids: list[int], limit: int, adapter: str | None) -> tuple[str, str]:
        model, tokenizer = causal_lm.load_model(engine.model, "float32"), causal_lm.load_tokenizer(engine.tokenizer)
        model = PeftModel.from_pretrained(model, adapter) if adapter else model
        new = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=limit, do_sample=False)[0, len(ids) :]
        reason = "stop" if tokenizer.eos_token_id in new else "length"
        return tokenizer.decode(new, skip_special_tokens=True), reason

    def in_this_process(command: list[str], env: dict | None = None, **_):
        if env:
            vllm_process.answer(files.read_json(command[-1]))
        return SimpleNamespace(returncode=0, stdout="0.33.0")

    expected = said(answers(trained))
    monkeypatch.syspath_prepend(vllm.parent)
    monkeypatch.setattr(vllm_process, "subprocess", SimpleNamespace(run=in_this_process))
    import vllm as stand_in

    monkeypatch.setattr(stand_in.LLM, "answer", answer)
    for serve in ("merged", "lora"):
        assert said(answers(trained, backend="vllm", serve=serve)) == expected, serve
