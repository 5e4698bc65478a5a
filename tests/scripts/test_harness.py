"""lm-evaluation-harness around a model of which every answer is known: it writes the alphabet.

Its next letter depends only on the last one: embedding the identity, attention and MLP nothing, output a permutation.
The tuned run's reflections exchange two inputs of that permutation, so that p is followed by r and q by q.
"""

import functools
import os
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest

import download_harness
import evaluate_harness
from hra_workflow.core import files, predictions, records
from hra_workflow.core.errors import JobError
from hra_workflow.data import sources
from hra_workflow.models import adapters
from support import ROOT, method, require

TASKS = "tests/data/harness"
LETTERS = ["</s>", "<pad>", "\n", *map(chr, range(32, 127))]
BENCHMARKS = {
    "Both": {"task": "alphabet", "shots": 1, "metric": "acc"},
    "Write": {"task": "alphabet_write", "shots": 0, "metric": "exact_match,whole"},
    "Programs": {"task": "alphabet_programs", "shots": 0, "metric": "pass_at_1", "unsafe_code": True},
}
METHOD = method("hra", peft={"r": 2}, targets=["lm_head"])


def evaluate_job(folder: Path) -> dict:
    given = {"record": "run/train.json", "last": "run/last/adapter_model.safetensors"}
    given |= {"model": "model.manifest.json", "harness": "harness.manifest.json"}
    made = {"metrics": "run/retention.json", "programs": "run/retention_programs.jsonl.gz"}
    params = {"benchmarks": BENCHMARKS, "method": METHOD, "batch_size": 4, "limit": None, "include_path": TASKS}
    params |= {"precision": "float32", "device": "cpu", "task_version": 1, "scratch": str(folder / "scratch")}
    job = {
        part: {name: str(folder / path) for name, path in paths.items()}
        for part, paths in (("input", given), ("output", made))
    }
    wildcards = {"task": "math", "dataset": "d", "method": "hra", "variant": "r2", "seed": "3"}
    return job | {"rule": "evaluate_harness", "params": params, "wildcards": wildcards, "resources": {"gpu": 0}}


@pytest.mark.parametrize("held", [{"lm_eval": "0.0.1"}, {"requested": ["alphabet"]}])
def test_data_of_another_harness_or_without_the_task_are_refused(tmp_path, held):
    content = {"lm_eval": evaluate_harness.provenance.version("lm_eval"), "requested": ["alphabet_write"]}
    files.write_json(tmp_path / "x.manifest.json", {"folder": "x"} | content | held)
    with pytest.raises(JobError, match="Delete it and run again"):
        evaluate_harness.open_harness(tmp_path / "x.manifest.json", {"X": {"task": "alphabet_write"}})


def test_generated_programs_do_not_run_unless_the_config_says_so(monkeypatch):
    import lm_eval.tasks

    few = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)  # to read all of them takes seconds
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", few)
    with pytest.raises(JobError, match=r"benchmark X: alphabet_code executes programs .* by the model.*unsafe_code"):
        download_harness.open_tasks({"X": {"task": "alphabet_code", "shots": 0, "metric": "pass@1"}}, TASKS)


def test_without_a_sandbox_the_job_ends_before_it_reads_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    job = evaluate_job(tmp_path)
    records.write(job["input"]["record"], {"status": "ok"})  # which says that the run has not diverged
    with pytest.raises(JobError, match="bubblewrap is not installed"):
        evaluate_harness.main(job)


# A short version of the harness's results.
FOUND = {"results": {"t": {"acc,a": 0.5, "acc,b": 1.0}}, "n-shot": {"t": 5}, "configs": {"t": {}}, "versions": {"t": 1}}


@pytest.mark.parametrize(
    ("metric", "shots", "message"),
    [("acc", 5, "'acc' is ambiguous for t; it has acc,a, acc,b"), ("acc,b", 4, "t ran with 5 shots instead of 4")],
)
def test_a_result_other_than_the_config_asks_for_is_refused(metric, shots, message):
    with pytest.raises(JobError, match=message):
        evaluate_harness.result("X", {"task": "t", "metric": metric, "shots": shots}, FOUND)


def test_out_of_memory_halves_the_batch(monkeypatch):
    import lm_eval
    import lm_eval.models.huggingface

    sizes, room = [], 3

    def simple_evaluate(batch_size, **_):  # HFLM's place takes its batch size
        sizes.append(batch_size)
        if batch_size > room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return "done"

    monkeypatch.setattr(lm_eval, "simple_evaluate", simple_evaluate)
    monkeypatch.setattr(lm_eval.models.huggingface, "HFLM", lambda *_, batch_size, **__: batch_size)
    arguments = ("X", BENCHMARKS["Both"], None, None, None, {"batch_size": 8, "limit": None})
    assert evaluate_harness.run(*arguments) == "done" and sizes == [8, 4, 2]
    room = 0
    with pytest.raises(JobError, match="a single sequence does not fit"):
        evaluate_harness.run(*arguments)


# A script's main without the harness's own tasks: to read all of these takes seconds.
DRIVER = """
import functools, importlib, json, sys
import download_harness

use_cache = download_harness.use_cache

def use_cache_and_few_tasks(*arguments, **named):
    use_cache(*arguments, **named)
    import lm_eval.tasks
    lm_eval.tasks.TaskManager = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)

download_harness.use_cache = use_cache_and_few_tasks
importlib.import_module(sys.argv[1]).main(json.load(open(sys.argv[2])))
"""


ALPHABETS = (string.ascii_lowercase, string.ascii_uppercase)
NEXT = {one: other for letters in ALPHABETS for one, other in zip(letters, letters[1:] + letters[0], strict=True)}


def write_run(folder: Path) -> None:
    """Write a model with its manifest, and a run's record and weights."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        vocab_size=len(LETTERS), hidden_size=128, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, bos_token_id=None, eos_token_id=0, pad_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    model, at = LlamaForCausalLM(config), LETTERS.index
    for module in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj, model.lm_head):
        module.weight.data.zero_()
    model.model.embed_tokens.weight.data = torch.eye(len(LETTERS), 128)
    for letter in LETTERS:
        model.lm_head.weight.data[at(NEXT.get(letter, letter)), at(letter)] = 1
    model.save_pretrained(folder / "model")
    tokenizer = Tokenizer(models.WordLevel({letter: at(letter) for letter in LETTERS}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder / "model")
    source = {"name": "alphabet", "revision": None, "sha256": "a" * 64}
    listed = {"folder": "model", "files": sources.list_files(folder / "model")}
    files.write_json(folder / "model.manifest.json", source | listed)
    tuned = adapters.insert(model, METHOD)
    (columns,) = [value.data for name, value in tuned.named_parameters() if "hra_u" in name]
    columns.zero_()
    for column, (one, other) in enumerate(["pq", "~}"]):  # the latter two never occur
        columns[at(one), column], columns[at(other), column] = 1, -1
    adapters.save(tuned, folder / "run/last")
    identity = {"task": "math", "dataset": "d", "method": "hra", "variant": "r2", "seed": 3}
    weights = {"last/adapter_model.safetensors": files.sha256(folder / "run/last/adapter_model.safetensors")}
    own = {"model": source, "weights_sha256": weights, "made_from": {"inputs": {}}}
    records.write(folder / "run/train.json", identity | own)


def execute(folder: Path, script: str, job: dict, **environment: str) -> None:
    files.write_json(folder / f"{script}.job.json", job)
    command = [sys.executable, "-c", DRIVER, script, folder / f"{script}.job.json"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'workflow/scripts'}"} | environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_downloaded_tasks_judge_a_run_without_network(tmp_path):
    require(shutil.which("bwrap") is not None, "bubblewrap is not installed")
    write_run(tmp_path)
    elsewhere = {"HF_HOME": str(tmp_path / "elsewhere"), "HF_DATASETS_CACHE": str(tmp_path / "elsewhere/datasets")}
    params = {"benchmarks": BENCHMARKS, "include_path": TASKS, "network": True}
    job = {"rule": "download_harness", "input": {}, "params": params, "resources": {}}
    job["output"] = {"manifest": str(tmp_path / "harness.manifest.json")}
    execute(tmp_path, "download_harness", job, HF_HUB_OFFLINE="0", **elsewhere)
    execute(tmp_path, "evaluate_harness", evaluate_job(tmp_path), HF_TOKEN="hf_secret", **elsewhere)

    manifest = files.read_json(tmp_path / "harness.manifest.json")
    assert {name: task["rows"] for name, task in manifest["tasks"].items()} == {
        "alphabet_lower": {"train": 3, "test": 8},
        "alphabet_upper": {"train": 3, "test": 2},
        "alphabet_write": {"test": 5},
        "alphabet_programs": {"test": 4},
    }
    stored = {path.parent.name for path in (tmp_path / manifest["folder"] / "datasets").rglob("*.arrow")}
    assert stored == {task["revision"] for task in manifest["tasks"].values()} != set()
    assert not (tmp_path / "elsewhere").exists()

    metrics = files.read_json(tmp_path / "run/retention.json")
    # The base gets 7 of 8 right, all but the one whose key is wrong; after the exchange `o` and `p` fail too.
    found = {name: (one["value"], one["n_items"], one["shots"]) for name, one in metrics["benchmarks"].items()}
    both = pytest.approx((5 + 2) / (8 + 2))
    assert found == {"Both": (both, 10, 1), "Write": (3 / 5, 5, 0), "Programs": (2 / 4, 4, 0)}
    programs = metrics["benchmarks"]["Programs"]
    assert programs["isolation"].startswith("bubblewrap ") and programs["stderr"] == pytest.approx((1 / 3) ** 0.5 / 2)
    executed = predictions.read(tmp_path / "run/retention_programs.jsonl.gz")
    assert executed[1]["program"] == "letters = 'klmnopr'\nassert letters == 'klmnopq'"
    outcomes = [(one["outcome"], one["reason"]) for one in executed[1:]]
    assert outcomes == [("failed", "AssertionError"), ("failed", "KeyError: 'HF_TOKEN'"), ("passed", "")]
