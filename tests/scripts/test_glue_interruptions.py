"""Trainings of a classifier that fail, are killed or asked to stop."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import train_glue
from glue_training import SCRIPT, comparable
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from hra_workflow.training import checkpoints
from rule_jobs import train
from saved_states import Killed
from support import ROOT, method

KILLED = """
import json, os, signal, sys
import train_glue
from hra_workflow.training import checkpoints

def sync(folder, plain=checkpoints.sync):
    if folder.name == "checkpoint-9":
        os.kill(os.getpid(), signal.SIGKILL)
    plain(folder)

checkpoints.sync = sync
train_glue.main(json.load(open(sys.argv[1])))
"""


def test_a_failed_evaluation_is_a_failed_training_that_resumes(make_run, monkeypatch):
    import evaluate_glue

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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hra", "adalora"])
def test_a_killed_training_ends_with_the_same_numbers(make_run, kind):
    """In the middle of a checkpoint, one of them by SIGKILL; the second attempt resumes from the one before."""
    settings = {"epochs": 4, "gradient_accumulation": 2}
    undisturbed = train(make_run(method(kind), name="whole", **settings))
    run = make_run(method(kind), name="killed", **settings)
    job = run.train
    job["resources"]["save_seconds"] = 0  # after every step
    if kind == "hra":
        files.write_json(run.folder / "job.json", job)
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'workflow'}:{SCRIPT.parent}"}
        done = subprocess.run([sys.executable, "-c", KILLED, run.folder / "job.json"], env=environment)
        assert done.returncode == -signal.SIGKILL
    else:
        sync = checkpoints.sync

        def killed(folder):
            if folder.name == "checkpoint-9":
                raise Killed
            sync(folder)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(checkpoints, "sync", killed)
            train_glue.main(job)
    assert not Path(job["output"]["record"]).exists()
    record = train(run)
    assert record["resumed_from"] == [8] and record["attempts"] == 2
    assert record["discarded"] == []
    assert comparable(record) == comparable(undisturbed)
    for name in ("last", "best"):
        whole, resumed = (
            load_file(run.folder.parent / which / f"run/{name}/{adapters.WEIGHTS}") for which in ("whole", "killed")
        )
        assert whole.keys() == resumed.keys()
        assert all((whole[key] == resumed[key]).all() for key in whole), name


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_asks_for_a_checkpoint_and_the_end(name):
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from hra_workflow.training import callbacks

    control = TrainerControl()
    with callbacks.CheckpointOnSignal(save_seconds=3600, end=None) as callback:
        signal.raise_signal(signal.Signals[name])
        callback.on_step_end(TrainingArguments(), TrainerState(max_steps=2), control)
    assert control.should_save and control.should_training_stop and callback.stopped == f"signal {name}"


def test_weights_that_are_not_what_training_wrote_are_not_evaluated(make_run):
    import evaluate_glue

    run = make_run(method("hra"))
    train(run)
    path = Path(run.weights["best"])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # in a tensor, whose file still loads
    path.write_bytes(content)
    with pytest.raises(JobError, match=r"best/adapter_model.safetensors: expected SHA-256 .*Delete .*train.json"):
        evaluate_glue.main(run.evaluate)
