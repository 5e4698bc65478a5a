"""vLLM itself, on a CPU, serves trained adapters: in the workflow's jobs, and as a server."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from hra_workflow.core import files
from hra_workflow.models import causal_lm, vllm_process
from rule_jobs import maker, train
from sums import MathRun, answers, math_method
from support import ROOT, downloaded, have_ended

MODEL = ROOT / "workflow/word-problems-llama"
PROBLEMS = {
    "source": {"kind": "init", "generator": "hra_workflow.demo.text_tasks:metamath", "seed": 0}
    | {"rows": {"train": 160, "test": 40}},
    "splits": {"train": ["train.parquet"], "test": ["test.parquet"]},
    "columns": {"question": "query", "answer": "response"},
    "answer": "metamath",
}
SETTINGS = {"max_length": 192, "epochs": 2}
TOKENS = 80
# Logits that differ by less are a near-tie: rounding decides which token is the larger one.
TIE = 1e-3
# One core, little memory, and no compilation, which takes a minute: the operations are the same.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "TORCH_COMPILE_DISABLE": "1"}

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("tool", ["vllm-cpu"], indirect=True),
]


@pytest.fixture(scope="module")
def python(tool):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, vllm_process.PYTHON: str(tool)}.items():
            patch.setenv(name, value)
        vllm_process.version.cache_clear()
        yield tool
    vllm_process.version.cache_clear()


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    folder = tmp_path_factory.mktemp("problems")
    given = downloaded(folder, {"kind": "local", "path": str(MODEL)}, "math/sums", PROBLEMS)
    return maker(MathRun, folder, given)


@pytest.fixture(scope="module")
def run(make):
    made = make(math_method("hra"), **SETTINGS)
    train(made)
    return made


def near_ties(run, found: list[dict], expected: list[dict]) -> int:
    """Count the answers that differ from those of transformers, all of them at a near-tie."""
    model = causal_lm.load_run(MODEL, run.method, run.last, "float32", "cpu", None, False)
    tokenizer = causal_lm.load_tokenizer(MODEL)

    def tokens(line: dict) -> list[int]:
        end = [tokenizer.eos_token_id] if line["finish"] == "stop" else []
        return tokenizer(line["output"], add_special_tokens=False)["input_ids"] + end

    different = [pair for pair in zip(found, expected, strict=True) if pair[0]["output"] != pair[1]["output"]]
    for one, other in different:
        said, wanted = tokens(one), tokens(other)
        first = next(n for n, pair in enumerate(zip(said, wanted, strict=False)) if pair[0] != pair[1])
        ids = tokenizer(other["prompt"])["input_ids"] + wanted[:first]
        with torch.inference_mode():
            best = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
        assert {said[first], wanted[first]} == set(best.indices.tolist()), (one, other)
        assert best.values[0] - best.values[1] < TIE, (one, other)
    return len(different)


def same(run, found: list[dict], serve: str) -> None:
    expected = answers(run, max_new_tokens=TOKENS, serve=serve)
    assert {line["backend"] for line in found} == {f"vllm {vllm_process.version()}"}
    assert len({line["output"] for line in found}) > 30
    assert near_ties(run, found, expected) <= 2
    pairs = zip(found, expected, strict=True)
    assert all(one["finish"] == other["finish"] for one, other in pairs if one["output"] == other["output"])


@pytest.mark.parametrize("serve", ["merged", "base"])
def test_the_answers_are_those_of_transformers(python, make, run, serve):
    if serve == "base":
        run = make(math_method("pretrained"), "base", **SETTINGS)
        train(run)
    same(run, answers(run, max_new_tokens=TOKENS, backend="vllm", serve=serve), serve)


def with_worker(process: subprocess.Popen) -> list[psutil.Process]:
    """Wait until vLLM has started its worker; return all processes that a process has started."""
    while process.poll() is None:
        started = psutil.Process(process.pid).children(recursive=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("VLLM::Worker" in " ".join(one.cmdline()) for one in started):
                return started
        time.sleep(0.2)
    raise AssertionError(process.communicate()[1])


def test_a_killed_shard_leaves_nothing_and_the_next_attempt_finishes(python, run):
    """The job is killed, then its child, both while vLLM's worker runs; then it is left alone."""
    job = run.generate(max_new_tokens=TOKENS, backend="vllm", serve="lora")
    files.write_json(run.folder / "job.json", job)
    command = [sys.executable, str(ROOT / "workflow/scripts/generate_math.py"), str(run.folder / "job.json")]
    for killed in ("job", "child"):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            started = with_worker(process)
            (process if killed == "job" else psutil.Process(process.pid).children()[0]).kill()
            assert have_ended([one.pid for one in started], 60), killed
            error = process.communicate()[1]
        assert killed == "job" or "vLLM ended with status -9" in error
        assert not Path(job["output"]["shard"]).exists()
    same(run, answers(run, max_new_tokens=TOKENS, backend="vllm", serve="lora"), "lora")
    assert not (Path(job["params"]["scratch"]) / "vllm").exists()
