"""Generation: the same answers from any shards, in any form, and from vLLM."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import gather_outputs
import generate_math
from hra_workflow.core import files, manifests, predictions, provenance, records
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, causal_lm, decoding, vllm_process
from sums import answers, math_method, said, train


@pytest.fixture
def trained(make_math_run):
    run = make_math_run(math_method("hra"), epochs=3)
    train(run)
    return run


def test_any_number_of_shards_gives_the_same_bytes(trained):
    def merged(of: int) -> list[bytes]:
        """Pools of eight items: three of `test`, eight of `train`."""
        answers(trained, of, batch_size=1)
        gather_outputs.main(trained.gather(of, "train"))
        return [Path(trained.gather(of, name)["output"]["outputs"]).read_bytes() for name in ("test", "train")]

    one = merged(1)
    assert one[0] != one[1]
    assert merged(3) == one


def test_one_job_answers_every_benchmark_with_one_model(trained, monkeypatch):
    loaded, load = [], causal_lm.load_run
    monkeypatch.setattr(causal_lm, "load_run", lambda *given: loaded.append(given) or load(*given))
    answers(trained)
    assert len(loaded) == 1
    gather_outputs.main(trained.gather(benchmark="train"))
    lines = {name: predictions.read(trained.gather(benchmark=name)["output"]["outputs"]) for name in ("test", "train")}
    assert [len(some) for some in lines.values()] == [23, 64]
    longest = {name: max(len(line["output"]) for line in some) for name, some in lines.items()}  # a token is a byte
    assert longest["train"] <= 4 < longest["test"] <= 8


def test_every_line_says_what_answered_it(trained):
    assert {(line["backend"], line["serve"]) for line in answers(trained, serve="merged")} == {
        (f"transformers {provenance.version('transformers')}", "merged")
    }


def test_adapter_merged_and_exact_lora_say_the_same_tokens(trained):
    found = {serve: said(answers(trained, serve=serve)) for serve in ("adapter", "merged", "lora")}
    assert found["adapter"] == found["merged"] == found["lora"]
    assert len(set(found["adapter"])) > 1


def test_a_batch_says_what_each_item_says_alone(trained):
    expected = answers(trained, batch_size=1)
    assert answers(trained) == answers(trained, batch_size=100) == expected


def test_a_model_without_a_cache_of_keys_and_values_is_served_by_its_own_generate(trained, monkeypatch):
    expected = answers(trained)
    monkeypatch.setattr(decoding, "is_supported", lambda model: False)
    monkeypatch.setattr(decoding, "greedy", None)
    assert answers(trained) == expected


def test_a_missing_a_double_and_a_damaged_shard_are_refused(trained):
    answers(trained, 2, batch_size=1)
    job = trained.gather(2)
    first, second = job["input"]["shards"]
    for shards, message in (([first], "Missing: "), ([first, second, second], "duplicate or unexpected: ")):
        with pytest.raises(JobError, match=message):
            gather_outputs.main(job | {"input": job["input"] | {"shards": shards}})
    Path(second).write_bytes(Path(second).read_bytes()[:-20])
    with pytest.raises(JobError, match="truncated or corrupted"):
        gather_outputs.main(job)


def test_out_of_memory_halves_the_batch_and_goes_on(trained, monkeypatch, capsys):
    """The third step of more than two rows fails, once: the smaller batch holds for the other pools and benchmarks."""
    expected = answers(trained)
    step, steps = decoding.Batch.step, []

    def scarce(self):
        steps.append(len(self.last))
        if len(steps) >= 3 and len(self.last) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return step(self)

    monkeypatch.setattr(decoding.Batch, "step", scarce)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert answers(trained) == expected
    assert steps[:3] == [4, 4, 4] and max(steps[3:]) == 2
    assert capsys.readouterr().out.count("continuing with half of it") == 1


def test_no_more_answers_at_a_time_than_fit_into_memory(trained, monkeypatch, capsys):
    expected = answers(trained)
    tokens, each = 26 + 8, 2 * 2 * 32 * 4  # two layers' keys and values of 32 numbers in float32
    monkeypatch.setattr(decoding.memory, "free_bytes", lambda device: 3.5 / decoding.FREE * tokens * each)
    batches = []
    plain = decoding.Batch.__init__
    monkeypatch.setattr(
        decoding.Batch, "__init__", lambda self, *given: batches.append(given[1:3]) or plain(self, *given)
    )
    assert answers(trained) == expected
    assert (3, tokens) in batches and (4, tokens) not in batches
    assert "3 instead of 4 answers at a time: 34 tokens of 0.5 KiB" in capsys.readouterr().out


def test_a_question_that_leaves_no_room_is_refused(trained):
    with pytest.raises(JobError, match=r"test, item \d+: the question takes \d+ tokens, and max_new_tokens = 125"):
        answers(trained, max_new_tokens=125)


def test_a_stop_string_ends_an_answer_and_is_not_part_of_it(trained):
    free = answers(trained)
    longest = max((line["output"] for line in free), key=len)
    stop = longest[1]
    for line, before in zip(answers(trained, stop=[stop]), free, strict=True):
        assert line["output"] == before["output"].split(stop)[0]
        if stop in before["output"]:
            assert line["finish"] == "stop"


def test_an_adapter_of_another_model_is_refused(trained, make_math_run, tmp_path, monkeypatch):
    other = make_math_run(math_method("hra", {"r": 6}), "other")
    train(other)
    job = trained.generate()
    record = files.read_json(job["input"]["record"])
    records.write(tmp_path / "train.json", record | {"model": record["model"] | {"name": "b", "sha256": "0" * 64}})
    with pytest.raises(JobError, match=r"expected the files 0000.* of b"):
        generate_math.main(job | {"input": job["input"] | {"record": str(tmp_path / "train.json")}})

    config, weights = (
        Path(other.weights["last"]).with_name(name) for name in ("adapter_config.json", adapters.WEIGHTS)
    )
    job = job | {"input": job["input"] | {"last": str(weights), "record": str(tmp_path / "train.json")}}

    def recorded() -> None:
        """Write a record with these weights' digest, so that PEFT's own check is the only one left."""
        digest = {os.path.relpath(weights, tmp_path): files.sha256(weights)}
        records.write(tmp_path / "train.json", record | {"weights_sha256": digest})

    recorded()
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
    recorded()
    with pytest.raises(JobError, match=r"does not belong to this model: .*down_proj"):
        generate_math.main(job)

    def exhausted(*_, **__):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr("peft.PeftModel.from_pretrained", exhausted)
    with pytest.raises(RuntimeError, match=r"^CUDA error: out of memory"):
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
        assert os.environ["HRA_STARTED_BY"]
        return str(len(ids)), "length"

    def generate(self, prompts, sampling_params=None, *, use_tqdm: bool = True, lora_request=None):
        assert (lora_request is not None) == self.lora
        for prompt, sampling in zip(prompts, sampling_params, strict=True):
            adapter = lora_request and lora_request.lora_path
            text, reason = self.answer(prompt["prompt_token_ids"], sampling.max_tokens, adapter)
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


def test_what_trained_nothing_is_served_as_it_is(make_math_run, tmp_path):
    run = make_math_run(math_method("pretrained"))
    train(run)
    folder = manifests.folder(run.tiny["model"])
    assert generate_math.Run(run.generate(serve="lora"), folder, None).exported(tmp_path) == (folder, None)
    assert said(answers(run, serve="lora")) == said(answers(run, serve="adapter"))


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
