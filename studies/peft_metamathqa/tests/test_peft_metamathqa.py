"""PEFT's MetaMathQA benchmark: data, prompts, training, grading and forgetting are those that PEFT publishes.

Its values are from huggingface/peft, method_comparison/MetaMathQA, each test with the file and its commit; those of the
results from results/frod--llama-3.2-3B-default.json (7085385).
"""

import json
import math
import random

import pandas
import pytest

import parameters
from hra_workflow.config import overlays, validation
from hra_workflow.core import grid, manifests
from hra_workflow.core.errors import JobError
from hra_workflow.data import text_tables
from hra_workflow.models import causal_lm, prompts
from hra_workflow.report import run_statistics
from hra_workflow.tasks import load, outputs
from hra_workflow.tasks.math import answers
from hra_workflow.training import length_windows, optimizers
from support import ROOT, put, with_files

STUDY = "studies/peft_metamathqa"
DATASET, RUN = "metamathqa-peft", "hra/r32"


@pytest.fixture
def config() -> dict:
    return with_files(f"{STUDY}/config.yaml")


@pytest.fixture
def settings(config) -> dict:
    return load(config)["math"].hyperparameters(DATASET, RUN)


def test_the_config_and_its_demo_are_valid(config):
    validation.check(config)
    runs, labels = grid.run_names(config, "math"), grid.labels(config, "math")
    assert {"lora/r32", "oft/r32", "dora/r32", "hra/r32", "hra/r64", "base/pretrained"} < set(runs)
    tuned = config["tasks"]["math"]["tune"]["runs"]
    assert all((run in tuned) == ("rate tuned" in labels[run]) == ("tuned" in run) for run in runs)
    assert {load(config)["math"].hyperparameters(DATASET, run)["learning_rate"] for run in runs} == {1e-4}
    own = overlays.read(ROOT / STUDY / "demo.yaml")
    merged = overlays.merged(config, own)
    overlays.finish_merge(merged, [own])
    validation.check(merged)
    assert outputs.published(load(merged)["math"]) is None


def test_training_is_that_of_the_default_parameters(settings):
    """default_training_params.json, 4192101: 5,000 steps of 4 rows, 768 tokens, AdamW, clip 1.0, no AMP."""
    theirs = {"max_steps": 5000, "batch_size": 4, "max_length": 768, "learning_rate": 1e-4, "weight_decay": 0.1}
    theirs |= {"max_grad_norm": 1.0, "schedule": "cosine", "base_precision": "bf16", "precision": "float32"}
    assert settings.items() >= theirs.items() and "epochs" not in settings
    assert settings["adam_epsilon"] == 1e-8  # torch's AdamW
    assert optimizers.total_steps(20000, settings) == 5000


def test_rows_are_filtered_by_characters_in_their_order(config, tmp_path):
    """data.py, d9e56aa: len(f"{q} {r}") <= CHAR_LIMIT = 1300; no shuffle. The results have 20,000 train samples."""
    entry = config["datasets"]["math"][DATASET]
    assert (entry["max_characters"], entry["take"]) == (1300, {"train": 20000})
    end = "The answer is: 1"
    rows = [
        {"query": f"{row}" * 10, "response": "x" * (length - 11 - len(end)) + end}
        for row, length in enumerate([1300, 1301, 40, 1300, 50])
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    entry |= {"splits": {"train": ["rows.json"]}, "rows": {"train": 5}, "take": {"train": 3}}
    (split,) = text_tables.read_splits("math", entry, tmp_path, answers.gold).values()
    assert [question[0] for question in split["question"]] == ["0", "2", "3"]
    with pytest.raises(JobError, match=r"expected 4 rows, found 5"):
        text_tables.read_splits("math", entry | {"rows": {"train": 4}}, tmp_path, answers.gold)
    with pytest.raises(JobError, match=r"max_characters 10: no rows"):
        text_tables.read_splits("math", entry | {"max_characters": 10}, tmp_path, answers.gold)


def buckets(lengths: list[int], batch: int, factor: int) -> list[list[int]]:
    """Return the lengths of the rows of each batch as PEFT's BucketIterator makes them."""
    size = batch * factor
    parts = [sorted(lengths[first : first + size], reverse=True) for first in range(0, len(lengths), size)]
    return [part[first : first + batch] for part in parts for first in range(0, len(part), batch)]


def test_batches_are_those_of_its_buckets(settings):
    """utils.py, 0134244: BucketIterator; run.py, 026d1e0: BUCKET_FACTOR = 20."""
    lengths = [random.Random(0).randint(50, 768) for _ in range(400)]
    order = list(length_windows.order(settings, [[0] * length for length in lengths], 4, seed=7))
    assert sorted(order) == list(range(400))
    found = [[lengths[row] for row in order[first : first + 4]] for first in range(0, 400, 4)]
    assert found == buckets(lengths, 4, 20)
    assert list(length_windows.order({"shuffle": False}, lengths, 4, seed=7)) == list(range(400))


def test_prompt_and_answer_are_one_text_that_is_learned_whole(config, settings, tiny_math):
    """run.py, 026d1e0: labels = input_ids, with the first end token; data.py: template + answer, without a space."""
    prompt = config["tasks"]["math"]["prompt"]
    assert prompt["template"].replace("{question}", "{query}") == "Question: {query} Think step by step.\nAnswer:"
    assert prompt["evaluation_suffix"] == "" and settings["loss_on"] != causal_lm.ANSWER
    folder, data = (manifests.folder(tiny_math[name]) for name in ("model", "dataset"))
    tokenizer = causal_lm.load_tokenizer(folder)
    asked = prompts.Prompt({"template": prompt["template"]}, tokenizer, folder)
    rows = causal_lm.training_rows(data, "train", asked, 768, settings["loss_on"])
    raw = pandas.read_parquet(data / "train.parquet")
    for row, question, answer in zip(rows, raw["question"], raw["answer"], strict=True):
        whole = tokenizer(f"Question: {question} Think step by step.\nAnswer:{answer}")["input_ids"]
        whole = whole[:-1] if whole[-1] == tokenizer.eos_token_id else whole
        assert row["input_ids"] == row["labels"] == [*whole, tokenizer.eos_token_id]


def test_answers_have_at_most_300_tokens_from_a_model_in_bf16(config):
    """default_training_params.json, 4192101: max_new_tokens 300, dtype bfloat16."""
    math = load(config)["math"]
    assert math.questions(DATASET) == {"gsm8k": {"split": "test", "max_new_tokens": 300}}
    assert math.generation_precision(DATASET, RUN) == "bf16" and math.answer_settings(RUN)["serve"] == "adapter"
    assert math.answer_settings(RUN)["stop"] == []


PARAMETERS = {  # "num_trainable_params" of the results; HRA's are not published: 2 × 28 layers of 3,072 inputs
    "full/all": 3_212_749_824,
    "oft/r32": 8_171_520,
    "dora/r32": 9_289_728,
    "hra/r32": 5_505_024,
}


@pytest.mark.parametrize(("run", "published"), PARAMETERS.items())
def test_the_adapters_have_the_published_numbers_of_parameters(config, run, published):
    method = grid.method(config, "math", *run.split("/"))
    assert parameters.count("math", parameters.base_model("math", "llama-3.2-3b", method), method, []) == published
    found = run_statistics.read_csv(ROOT / STUDY / "results/peft_metamathqa.csv").set_index("run")["params_M"].to_dict()
    assert run not in found or math.isclose(float(found[run]) * 1e6, published, rel_tol=1e-5)


PRESET, SET = "presets.math.peft-benchmark.all", "datasets.math.metamathqa-peft"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{PRESET}.epochs", 1, r"one of epochs and max_steps, found both \(epochs 1, max_steps 5000\). Rem"),
        (f"{PRESET}.max_steps", None, "epochs or max_steps is missing: neither tasks.math.defaults nor the preset"),
        (f"{PRESET}.group_by_length", "shuffled", "group_by_length shuffled needs .* shuffle is false"),
        (f"{SET}.metrics", ["pefft"], "metrics: expected one of official, .*, or module:name .*, found 'pefft'"),
        (
            f"{SET}.score",
            "official",
            "score: unknown metric 'official'; known: studies.peft_metamathqa.grader:PEFT, str",
        ),
        ("tasks.math.published.file", "peft.csv", r"published.file: expected a CSV file, found no .*/peft\.csv"),
        ("tasks.math.published.noise", {"GSM": 1}, "published.noise: unknown column 'GSM'; known: GSM8K"),
        ("tasks.math.tune.runs", ["hra/r8"], "tune.runs: unknown run of the grid 'hra/r8'; known: hra/r32"),
        ("tasks.math.columns.2.metric", "minutes", r"Time \(min\): unknown metric 'minutes'; known: seconds"),
    ],
)
def test_what_cannot_be_run_is_one_message(config, path, value, message):
    put(config, path, value)
    if value is None:
        del config["presets"]["math"]["peft-benchmark"]["all"]["max_steps"]
    with pytest.raises(JobError, match=message):
        validation.check(config)


def test_the_page_has_the_published_rows_and_the_measured_ratios(check_rows, check_blocks):
    check_rows(ROOT / STUDY, "GSM8K, %")
    check_blocks(ROOT / STUDY, ("q_proj", "v_proj", "decoder block"))
