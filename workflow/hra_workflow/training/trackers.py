"""Experiment trackers of config key `report_to`: accelerate's, which get the curve of a training while it runs.

A training that resumes sends the points since its checkpoint again, with the same values; in MLflow and wandb, to a
new run.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker
from transformers import TrainerCallback
from transformers.integrations import rewrite_logs

from hra_workflow.core import made_from

PROJECT = "hra"
SUMMARY = "train_runtime"  # entries of the Trainer's last log line, about the last attempt only


class Curves(TrainerCallback):
    """Sends a trainer's log to trackers, under the names of transformers' callbacks, such as eval/accuracy."""

    def __init__(self, trackers: list[GeneralTracker]):
        self.trackers = trackers

    def on_log(self, args, state, control, logs, **_):
        points = {curve: value for curve, value in rewrite_logs(logs).items() if isinstance(value, int | float)}
        for tracker in self.trackers if SUMMARY not in logs else ():
            tracker.log(points, step=state.global_step)


@contextlib.contextmanager
def reporting(trainer, names: list[str], job: dict, content: dict) -> Iterator[None]:
    """Report the training within the block to the trackers `names`; `content`: entries of its record."""
    run = "{task}/{dataset}/{method}/{variant}/seed{seed}".format(**job["wildcards"])
    trackers = [tracker_of(name, run, Path(job["params"]["trackers"]["folder"]).absolute()) for name in names]
    for tracker in trackers:
        tracker.start()
        tracker.store_init_configuration({key: str(value) for key, value in made_from.flatten(content).items()})
    trainer.add_callback(Curves(trackers))
    try:
        yield
    finally:
        for tracker in trackers:
            tracker.finish()


def tracker_of(name: str, run: str, folder: Path) -> GeneralTracker:
    """Return a tracker that writes to files unless its variables say otherwise: compute nodes have no network."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "tensorboard":
        return TensorBoardTracker(run, folder / name)
    if name == "mlflow":
        os.environ.setdefault("MLFLOW_TRACKING_URI", (folder / name).as_uri())  # a database fails on NFS
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        return MLflowTracker(PROJECT, run_name=run)
    os.environ.setdefault("WANDB_MODE", "offline")
    return WandBTracker(PROJECT, name=run, dir=folder)
