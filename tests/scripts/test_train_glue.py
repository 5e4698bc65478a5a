"""Fine-tuning: every method runs; a killed training run ends with the numbers of an uninterrupted one."""

from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoTokenizer

import evaluate_glue
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from hra_workflow.training import hf_trainer
from rule_jobs import train
from saved_states import check_restored
from support import ROOT, method


@pytest.mark.parametrize("kind", ["hra", "full"])
def test_every_method_trains_and_evaluates(make_run, kind):
    run = make_run(method(kind))
    record = train(run)
    jsonschema.validate(record, files.read_json(ROOT / "workflow/schemas/record.schema.json"))
    assert 0 < record["cpu_share"] <= 1.05
    results, scores = [], Path(run.evaluate["input"]["scores"]) / "validation.safetensors"
    for scored in (True, False):
        if not scored:  # as for a benchmark that was added after the training
            scores.rename(scores.with_suffix(".aside"))
        evaluate_glue.main(run.evaluate)
        metrics = files.read_json(run.evaluate["output"]["metrics"])
        lines = Path(run.evaluate["output"]["predictions"]).read_bytes()
        results.append((metrics | {"seconds": 0, "sha256": ""}, lines))
    scores.with_suffix(".aside").rename(scores)
    assert results[0] == results[1]
    assert record["steps"] == 12 and record["attempts"] == 1 and metrics["n_items"] == 40
    # The stored weights are those that training evaluated.
    best = next(entry for entry in record["curve"] if entry["step"] == record["best_step"])
    assert metrics["selections"]["last"]["metrics"]["accuracy"]["value"] == record["curve"][-1]["metrics"]["accuracy"]
    assert metrics["selections"]["best_on_dev"]["metrics"]["accuracy"]["value"] == best["metrics"]["accuracy"]
    check_restored(run.train)


def test_scores_are_in_the_order_of_the_rows(tiny):
    """Batches are of similar lengths, and so in another order."""
    ids = [[7, 8, 9], [4], [5, 6], [1, 2, 3, 4]]
    data = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]})

    def model(input_ids, attention_mask, **_):
        return SimpleNamespace(logits=(input_ids * attention_mask).sum(1, keepdim=True))

    tokenizer = AutoTokenizer.from_pretrained(Path(tiny["model"]).with_name("model"))
    found = evaluate_glue.logits(model, data, tokenizer, "float32", 2, "cpu")
    assert found.tolist() == [[sum(row)] for row in ids]


def test_the_optimiser_has_the_settings_of_the_preset(tmp_path):
    settings = {"learning_rate": 3e-4, "weight_decay": 0.02, "max_grad_norm": 0.3, "adam_epsilon": 1e-6}
    settings |= {"warmup_steps": 5, "gradient_accumulation": 2, "max_steps": 9}
    others = {"batch_size": 8, "schedule": "cosine", "precision": "bf16"}
    job = {"params": {"scratch": str(tmp_path)}, "resources": {}, "wildcards": {"seed": "4"}}
    made = hf_trainer.training_arguments(job, settings | others, "cpu")
    names = {"gradient_accumulation": "gradient_accumulation_steps"}
    assert {name: getattr(made, names.get(name, name)) for name in settings} == settings
    assert (made.lr_scheduler_type, made.bf16, made.per_device_train_batch_size) == ("cosine", True, 4)
    assert made.seed == made.data_seed == 4


def test_of_equally_good_steps_the_first_is_the_best(make_run):
    """Nothing changes at a rate of 1e-30, so every evaluation has the same score."""
    record = train(make_run(method("head"), learning_rate=1e-30))
    scores = {point["metrics"]["accuracy"] for point in record["curve"]}
    assert len(record["curve"]) > 1 == len(scores) and record["best_step"] == record["curve"][0]["step"]


def test_training_starts_from_the_augmented_checkpoint_and_the_head_has_a_rate_of_its_own(make_run):
    rates = {"none": (1e-12, None), "adapter": (1e-2, 1e-12), "head": (1e-12, 1e-2)}
    ends = {}
    for moving, (rate, of_head) in rates.items():
        own = {"head_learning_rate": of_head} if of_head else {}
        run = make_run(method("hra"), moving, learning_rate=rate, **own)
        train(run)
        ends[moving] = load_file(run.weights["last"])
    start = load_file(Path(run.augment["output"]["manifest"]).parent / adapters.WEIGHTS)
    assert start and all((ends["none"][name] - value).abs().max() < 1e-6 for name, value in start.items())
    for moving in ("adapter", "head"):
        moved = {name: (ends[moving][name] - value).abs().max() > 1e-6 for name, value in ends["none"].items()}
        assert all(found == (("hra_u" in name) == (moving == "adapter")) for name, found in moved.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ["query", "none"]}, r"'none' matches no Linear layer.*end in: classifier, dense, key"),
        ({"peft": {"r": 34}}, r"does not fit this model: HRA with r = 34 on Linear.*input width is 32"),
    ],
)
def test_adapters_that_do_not_fit_are_refused_before_anything_is_written(make_run, changes, message):
    with pytest.raises(JobError, match=message):
        make_run(method("hra", **changes))
