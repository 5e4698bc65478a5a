"""Generation: the same answers from any shards, in any form, and from vLLM."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import gather_outputs
import generate_math
from common.core import files, manifests
from common.core.errors import JobError
from common.models import adapters, causal_lm, vllm_process
from sums import answers, math_method, train


@pytest.fixture
def trained(make_math_run):
    run = make_math_run(math_method("hra"), epochs=3)
    train(run)
    return run


def test_any_number_of_shards_gives_the_same_bytes(trained):
    answers(trained)
    one = Path(trained.gather(1)["output"]["outputs"]).read_bytes()
    for of in (2, 3, 7):
        answers(trained, of)
        assert Path(trained.gather(of)["output"]["outputs"]).read_bytes() == one, of


def test_adapter_merged_and_exact_lora_say_the_same_tokens(trained):
    said = {serve: answers(trained, serve=serve) for serve in ("adapter", "merged", "lora")}
    assert said["adapter"] == said["merged"] == said["lora"]
    assert len({line["output"] for line in said["adapter"]}) > 1


def test_a_batch_says_what_each_item_says_alone(trained):
    assert answers(trained) == answers(trained, batch_size=1)


def test_a_missing_a_double_and_a_damaged_shard_are_refused(trained):
    answers(trained, 2)
    job = trained.gather(2)
    first, second = job["input"]["shards"]
    for shards, message in (([first], "Missing: "), ([first, second, second], "duplicate or unexpected: ")):
        with pytest.raises(JobError, match=message):
            gather_outputs.main(job | {"input": job["input"] | {"shards": shards}})
    Path(second).write_bytes(Path(second).read_bytes()[:-20])
    with pytest.raises(JobError, match="truncated or corrupted"):
        gather_outputs.main(job)


def test_out_of_memory_halves_the_batch_and_goes_on(trained, monkeypatch, capsys):
    expected = answers(trained)
    original, sizes = generate_math.Run.answer, []

    def scarce(self, model, ids, batch):
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(batch))
        return original(self, model, ids, batch)

    monkeypatch.setattr(generate_math.Run, "answer", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert answers(trained) == expected
    assert max(sizes) == 2 and "continuing with half of it" in capsys.readouterr().out


def test_a_question_that_leaves_no_room_is_refused(trained):
    with pytest.raises(JobError, match=r"item \d+: the question takes \d+ tokens, and max_new_tokens = 125"):
        answers(trained, max_new_tokens=125)


def test_a_stop_string_ends_an_answer_and_is_not_part_of_it(trained):
    free = answers(trained)
    longest = max((line["output"] for line in free), key=len)
    stop = longest[1]
    for line, before in zip(answers(trained, stop=[stop]), free, strict=True):
        assert line["output"] == before["output"].split(stop)[0]
        if stop in before["output"]:
            assert line["finish"] == "stop"


def test_an_adapter_of_another_model_is_refused(trained, make_math_run, tmp_path):
    other = make_math_run(math_method("hra", {"r": 6}), "other")
    train(other)
    job = trained.generate()
    record = files.read_json(job["input"]["record"])
    files.write_json(tmp_path / "train.json", record | {"model": record["model"] | {"name": "b", "sha256": "0" * 64}})
    with pytest.raises(JobError, match=r"expected the files 0000.* of b"):
        generate_math.main(job | {"input": job["input"] | {"record": str(tmp_path / "train.json")}})

    config, weights = (
        Path(other.weights["last"]).with_name(name) for name in ("adapter_config.json", adapters.WEIGHTS)
    )
    # A record of before 2026-11-26 lists no digests of weights: PEFT's own look has to do.
    files.write_json(tmp_path / "old.json", {key: value for key, value in record.items() if key != "weights_sha256"})
    job = job | {"input": job["input"] | {"last": str(weights), "record": str(tmp_path / "old.json")}}
    right, state = config.read_text(), load_file(weights)
    config.write_text(right.replace('"r": 6', '"r": 4'))
    with pytest.raises(JobError, match=r"does not belong to this model: .*size mismatch"):
        generate_math.main(job)
    config.write_text(right.replace('    "q_proj",\n', ""))
    with pytest.raises(JobError, match=r"does not belong to this model: .*q_proj.* is in one of them only"):
        generate_math.main(job)
    config.write_text(right)
    state.pop(next(name for name in state if "down_proj" in name))
    save_file(state, weights)
    with pytest.raises(JobError, match=r"does not belong to this model: .*down_proj"):
        generate_math.main(job)


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
        assert os.environ["HRA_JOB_PROCESS"]
        return str(len(ids)), "length"

    def generate(self, prompts, sampling_params=None, *, use_tqdm: bool = True, lora_request=None):
        assert (lora_request is not None) == self.lora
        for prompt in prompts:
            adapter = lora_request and lora_request.lora_path
            text, reason = self.answer(prompt["prompt_token_ids"], sampling_params.max_tokens, adapter)
            yield SimpleNamespace(outputs=[SimpleNamespace(text=text, finish_reason=reason)])

class SamplingParams:
    def __init__(self, *, temperature: float = 1.0, max_tokens: int | None = 16, stop: list[str] | None = None):
        assert temperature == 0 and stop is None
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
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    yield package
    for name in ("vllm", "vllm.lora", "vllm.lora.request"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("chosen", [None, "/nonexistent/python"])
def test_vllm_that_is_not_there_is_said_before_the_export(trained, monkeypatch, chosen):
    if chosen:
        monkeypatch.setenv("HRA_VLLM_PYTHON", chosen)
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
    assert "vllm" not in sys.modules
    assert not list(Path(trained.generate()["params"]["scratch"]).rglob("*.safetensors"))
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

    def in_this_process(command: list[str], env: dict | None = None):
        if env:
            vllm_process.answer(files.read_json(command[-1]))
        return SimpleNamespace(returncode=0)

    expected = answers(trained)
    monkeypatch.syspath_prepend(vllm.parent)
    monkeypatch.setattr(vllm_process, "subprocess", SimpleNamespace(run=in_this_process))
    import vllm as stand_in

    monkeypatch.setattr(stand_in.LLM, "answer", answer)
    for serve in ("merged", "lora"):
        assert answers(trained, backend="vllm", serve=serve) == expected, serve


def test_what_trained_nothing_is_served_as_it_is(make_math_run, tmp_path):
    run = make_math_run(math_method("pretrained"))
    train(run)
    folder = manifests.folder(run.tiny["model"])
    assert generate_math.Run(run.generate(serve="lora"), folder, None).exported(tmp_path) == (folder, None)
    assert answers(run, serve="lora") == answers(run, serve="adapter")


@pytest.mark.parametrize("kind", ["hra", "lora"])
def test_the_exported_lora_has_the_adapter_s_logits(make_math_run, tmp_path, kind):
    from peft import PeftModel

    run = make_math_run(math_method(kind))
    train(run)
    generate = generate_math.Run(run.generate(serve="lora"), manifests.folder(run.tiny["model"]), None)
    adapter = generate.model(merge=False)
    base, folder = generate.exported(tmp_path / "lora")
    config = files.read_json(folder / "adapter_config.json")
    assert (config["peft_type"], config["r"], config["bias"], config["init_lora_weights"]) == ("LORA", 4, "none", True)
    x = torch.arange(60)[None]
    lora = PeftModel.from_pretrained(causal_lm.load_model(base, "float32"), folder).eval()
    with torch.inference_mode():
        expected = adapter(x).logits
        torch.testing.assert_close(lora(x).logits, expected, atol=1e-5, rtol=1e-5)
        with adapter.disable_adapter():
            assert (adapter(x).logits - expected).abs().max() > 0.01
