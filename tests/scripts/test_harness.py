"""lm-evaluation-harness around a model of which every answer is known: it writes the alphabet.

Its next letter depends only on the last one: embedding the identity, attention and MLP nothing, output a permutation.
The tuned run's reflections exchange two inputs of that permutation, so that p is followed by r and q by q.
"""

import os
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate_harness
from harness_jobs import BENCHMARKS, LETTERS, METHOD, TASKS, evaluate_job
from hra_workflow.core import files, predictions, records
from hra_workflow.data import sources
from hra_workflow.models import adapters
from support import ROOT, require

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


def successor(letter: str) -> str:
    for alphabet in (string.ascii_lowercase, string.ascii_uppercase):
        if letter in alphabet:
            return (alphabet + alphabet)[alphabet.index(letter) + 1]
    return letter


def alphabet_model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(LETTERS), hidden_size=128, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, bos_token_id=None, eos_token_id=0, pad_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for module in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj):
            module.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(LETTERS), 128))
        model.lm_head.weight.zero_()
        for index, letter in enumerate(LETTERS):
            model.lm_head.weight[LETTERS.index(successor(letter)), index] = 1
    return model


def tokenizer():
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({letter: index for index, letter in enumerate(LETTERS)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>")


def swap(model) -> None:
    """Build two reflections: the first swaps p and q, the second two letters that never occur."""
    import torch

    (columns,) = [value for name, value in model.named_parameters() if "hra_u" in name]
    with torch.no_grad():
        columns.zero_()
        for column, (one, other) in enumerate(["pq", "~}"]):
            columns[LETTERS.index(one), column], columns[LETTERS.index(other), column] = 1, -1


def execute(folder: Path, script: str, job: dict, **environment: str) -> None:
    files.write_json(folder / f"{script}.job.json", job)
    command = [sys.executable, "-c", DRIVER, script, folder / f"{script}.job.json"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'workflow/scripts'}"} | environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def download_job(folder: Path, benchmarks: dict = BENCHMARKS) -> dict:
    return {
        "rule": "download_harness",
        "input": {},
        "output": {"manifest": str(folder / "harness.manifest.json")},
        "params": {"benchmarks": benchmarks, "include_path": TASKS, "network": True},
        "resources": {},
    }


def write_run(folder: Path) -> None:
    """Provide a model with its manifest, and a run's record and weights."""
    model = alphabet_model()
    model.save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    source = {"name": "alphabet", "revision": None, "sha256": "a" * 64}
    files.write_json(
        folder / "model.manifest.json", source | {"folder": "model", "files": sources.list_files(folder / "model")}
    )
    tuned = adapters.insert(model, METHOD)
    swap(tuned)
    adapters.save(tuned, folder / "run/last")
    identity = {"task": "math", "dataset": "d", "method": "hra", "variant": "r2", "seed": 3}
    weights = {"last/adapter_model.safetensors": files.sha256(folder / "run/last/adapter_model.safetensors")}
    records.write(
        folder / "run/train.json", identity | {"model": source, "weights_sha256": weights, "made_from": {"inputs": {}}}
    )


@pytest.mark.slow
def test_downloaded_tasks_judge_a_run_without_network(tmp_path):
    """Run each script in a separate process, since it sets the cache before importing the Hugging Face libraries."""
    require(shutil.which("bwrap") is not None, "bubblewrap is not installed")
    write_run(tmp_path)
    elsewhere = {"HF_HOME": str(tmp_path / "elsewhere"), "HF_DATASETS_CACHE": str(tmp_path / "elsewhere/datasets")}
    execute(tmp_path, "download_harness", download_job(tmp_path), HF_HUB_OFFLINE="0", **elsewhere)
    execute(tmp_path, "evaluate_harness", evaluate_job(tmp_path), HF_TOKEN="hf_secret", **elsewhere)

    manifest = files.read_json(tmp_path / "harness.manifest.json")
    assert manifest["requested"] == [benchmark["task"] for benchmark in BENCHMARKS.values()]
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
    assert [metrics[key] for key in ("task", "dataset", "method", "variant", "seed")] == ["math", "d", "hra", "r2", 3]
    assert (metrics["lm_eval"], metrics["limit"]) == (evaluate_harness.provenance.version("lm_eval"), None)
    assert list(metrics["benchmarks"]) == list(BENCHMARKS)
    lower, both, write, programs = metrics["benchmarks"].values()
    # The base gets 7 of 8 right, all but the one whose key is wrong; after the exchange `o` and `p` fail too.
    assert lower.pop("stderr") == pytest.approx((5 / 8 * 3 / 8 / 7) ** 0.5)
    assert lower == {
        "value": 5 / 8, "n_items": 8, "task": "alphabet_lower", "task_version": 3.0, "shots": 2, "metric": "acc,none",
    }  # fmt: skip
    # A group weights its tasks by their size.
    assert both["value"] == pytest.approx((5 + 2) / (8 + 2))
    assert (both["n_items"], both["task_version"], both["shots"]) == (10, "2", 1)
    # The base would write 4 of 5 (`stuw` is no alphabet); after the exchange it is `nopr` instead of `nopq`.
    assert (write["value"], write["n_items"]) == (3 / 5, 5)
    assert "isolation" not in write and programs["isolation"].startswith("bubblewrap ")
    # One program is correct, one fails as above, one looks for a token, one writes to its private /tmp.
    assert (programs["value"], programs["n_items"], programs["metric"]) == (2 / 4, 4, "pass_at_1,test")
    assert programs["stderr"] == pytest.approx((1 / 3) ** 0.5 / 2)
    assert not Path("/tmp/alphabet-programs").exists()
    executed = predictions.read(tmp_path / "run/retention_programs.jsonl.gz")
    assert executed[1].pop("program") == "letters = 'klmnopr'\nassert letters == 'klmnopq'"
    expected = {"benchmark": "Programs", "filter": "test", "item": 1, "task_id": "Alphabet/1", "sample": 0}
    assert executed[1] == expected | {"outcome": "failed", "reason": "AssertionError"}
    assert [(one["outcome"], one["reason"]) for one in executed[2:]] == [
        ("failed", "KeyError: 'HF_TOKEN'"), ("passed", ""),
    ]  # fmt: skip
