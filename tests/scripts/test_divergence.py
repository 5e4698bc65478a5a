"""A run whose loss or weights are no finite numbers: the same record in every task, and nothing is made of it."""

from pathlib import Path

import jsonschema
from safetensors.numpy import load_file

import evaluate_glue
import train_glue
import train_math
import train_subject
from hra_workflow.core import files, finished_run, predictions, records
from hra_workflow.data import images
from subjects import unet_method
from sums import LLAMA_TARGETS
from support import ROOT, method

RATE = {"learning_rate": 1e30, "max_grad_norm": 0.0}


def check(job: dict, error: str) -> None:
    record = records.read(job["output"]["record"])
    jsonschema.validate(record, files.read_json(ROOT / "workflow/schemas/record.schema.json"))
    assert record["status"] == "diverged" and error in record["error"]
    assert record["made_from"]["settings"]["hyperparameters"]["learning_rate"] == 1e30
    run = Path(job["output"]["record"]).parent
    weights = list(run.rglob("*.safetensors"))
    assert weights and all(load_file(path) == {} for path in weights)
    assert not Path(job["params"]["scratch"]).exists()


def skipped(job: dict) -> list[str]:
    """Return the outputs of a job that has nothing to do."""
    finished_run.unless_diverged(None)(job)
    return list(job["output"].values())


def test_text_classification(make_run):
    run = make_run(method("full"), **RATE)
    train_glue.main(run.train)
    check(run.train, "the training loss is nan at step ")
    metrics, lines = skipped(run.evaluate)
    assert records.read(metrics)["status"] == "diverged" and predictions.read(lines) == []


def test_mathematics(make_math_run):
    run = make_math_run(method("lora", targets=LLAMA_TARGETS), **RATE)
    train_math.main(run.train)
    check(run.train, "the training loss is nan at step 3")  # the first one is of the warm-up, with a rate of 0
    for job in (run.generate(), run.gather()):
        assert [predictions.read(path) for path in skipped(job)] == [[]]


def test_a_subject(make_subject_run):
    run = make_subject_run(unet_method("lora"), **RATE)
    train_subject.main(run.train)
    check(run.train, "the training loss is nan at step 2")
    for job in (run.generate(), run.gather()):
        assert [list(images.unpack(path)) for path in skipped(job)] == [[]]


def test_scores_that_are_no_numbers_are_not_a_class(make_run, monkeypatch):
    run = make_run(method("full"))
    plain = evaluate_glue.logits
    monkeypatch.setattr(evaluate_glue, "logits", lambda *arguments: plain(*arguments) * float("nan"))
    train_glue.main(run.train)
    record = records.read(run.train["output"]["record"])
    assert record["status"] == "diverged" and "no finite scores for 40 of 40 items of validation" in record["error"]


def test_other_runs_are_not_skipped(make_run, tmp_path):
    records.write(tmp_path / "train.json", {"status": "ok"})
    job = {"input": {"record": str(tmp_path / "train.json")}, "output": {"metrics": str(tmp_path / "metrics.json")}}
    ran: list[dict] = []
    for one in (job, job | {"input": {}}):
        finished_run.unless_diverged(ran.append)(one)
        assert ran.pop() == one
    assert not (tmp_path / "metrics.json").exists()
