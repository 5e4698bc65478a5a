"""Trainings of a classifier that fail, are killed or asked to stop."""

import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

import evaluate_glue
import train_glue
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from hra_workflow.training import callbacks, checkpoints
from rule_jobs import train
from saved_states import Killed
from support import method


def test_a_failed_evaluation_is_a_failed_training_that_resumes(make_run, monkeypatch):
    run, works = make_run(method("bitfit")), evaluate_glue.compute_scores
    job = run.train | {"resources": {"gpu": 0, "save_seconds": 0}}
    monkeypatch.setattr(evaluate_glue, "compute_scores", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_glue.main(job)
    assert not Path(run.train["output"]["record"]).exists()
    monkeypatch.setattr(evaluate_glue, "compute_scores", works)
    # What only evaluation depends on may have changed in the meantime.
    run.dataset["metrics"] = ["f1", "accuracy"]
    train_glue.main(run.train | {"params": run.train["params"] | {"eval_batch_size": 7}})
    record = files.read_json(run.train["output"]["record"])
    assert record["resumed_from"] and not record["discarded"]
    assert [list(entry["metrics"]) for entry in record["curve"]] == [["accuracy"]] * len(record["curve"])
    evaluate_glue.main(run.evaluate)
    found = files.read_json(run.evaluate["output"]["metrics"])["selections"]["last"]["metrics"]
    assert list(found) == ["f1", "accuracy"]
    # Weights that are not what training wrote are not evaluated.
    path = Path(run.weights["best"])
    path.write_bytes(path.read_bytes()[:-1] + b"?")  # in a tensor, whose file still loads
    with pytest.raises(JobError, match=r"best/\S+: expected SHA-256 .*Delete .*train.json"):
        evaluate_glue.main(run.evaluate)


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_numbers(make_run, monkeypatch):
    """Kill it in the middle of a checkpoint; the second attempt resumes from the one before."""
    settings = {"epochs": 4, "gradient_accumulation": 2}
    undisturbed = train(make_run(method("adalora"), name="whole", **settings))
    run = make_run(method("adalora"), name="killed", **settings)
    job, sync = run.train, checkpoints.sync
    job["resources"]["save_seconds"] = 0  # after every step

    def killed(folder):
        if folder.name == "checkpoint-5":
            raise Killed
        sync(folder)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints, "sync", killed)
        train_glue.main(job)
    assert not Path(job["output"]["record"]).exists()
    record = train(run)
    assert record["resumed_from"] == [4] and record["attempts"] == 2 and record["discarded"] == []
    for key in ("curve", "best_step", "steps", "trainable_parameters"):
        assert record[key] == undisturbed[key], key
    for name in ("last", "best"):
        whole, resumed = (
            load_file(run.folder.parent / which / f"run/{name}/{adapters.WEIGHTS}") for which in ("whole", "killed")
        )
        assert whole.keys() == resumed.keys()
        assert all((whole[key] == resumed[key]).all() for key in whole), name


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_asks_for_a_checkpoint_and_the_end(name):
    control = TrainerControl()
    with callbacks.CheckpointOnSignal(save_seconds=3600, end=None) as callback:
        signal.raise_signal(signal.Signals[name])
        callback.on_step_end(TrainingArguments(), TrainerState(max_steps=2), control)
    assert control.should_save and control.should_training_stop and callback.stopped == f"signal {name}"
