"""Experiment trackers of config key `report_to`, which receive the curves of a training run while it runs.

All tasks use accelerate's trackers: with transformers' callbacks (5.24), a resumed training repeats the points since
its checkpoint in TensorBoard and starts a second run in MLflow, and an error in one of them ends the training.

scratch/RUN/tracked.json   per tracker: the id of its run, and the last step that was sent of each curve

So a resumed training run continues the same run of the tracker, and sends no point twice: points after its checkpoint
have the same values. Only a kill between a point and its record repeats that point.
"""

import contextlib
import json
import os
import uuid
from pathlib import Path

from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, TrackioTracker, WandBTracker
from transformers import TrainerCallback
from transformers.integrations import rewrite_logs

from hra_workflow.core import files, made_from
from hra_workflow.core.errors import describe

PROJECT = "hra"
SENT = "tracked.json"
SUMMARY = "train_runtime"  # entries of the Trainer's last log line, about the last attempt only


class Tracked(TrainerCallback):
    """Sends a trainer's log under the names of transformers' callbacks, such as train/loss and eval/accuracy.

    A tracker that fails is not used further, with a warning in the log. `finish` closes the others.
    """

    def __init__(self, job: dict, content: dict):
        """`content`: entries of the record, for the configuration of the trackers' runs."""
        params = job["params"]
        self.path, folder = Path(params["scratch"], SENT), Path(params["trackers"]["folder"]).absolute()
        self.sent = files.read_json(self.path) if self.path.exists() else {}
        self.trackers: dict[str, GeneralTracker] = {}
        for name, value in offline(folder).items():
            os.environ.setdefault(name, value)
        for name in params["trackers"]["report_to"]:
            with self.guarded(name):
                self.open(name, folder, job, flat(content))

    def open(self, name: str, folder: Path, job: dict, content: dict) -> None:
        """Continue the tracker's run of the last attempt, or start one with the configuration of the training."""
        known = self.sent.get(name, {}).get("id")
        tracker = tracker_of(name, job, content, folder, known)
        try:
            tracker.start()
        except Exception:  # another job may have created the project meanwhile
            tracker.start()
        self.trackers[name] = tracker
        if not known:
            self.sent[name] = {"id": id_of(tracker), "steps": {}}
            files.write_json(self.path, self.sent)
            tracker.store_init_configuration(content)

    def on_log(self, args, state, control, logs, **_):
        if SUMMARY in logs:
            return
        points = {curve: value for curve, value in rewrite_logs(logs).items() if isinstance(value, int | float)}
        for name, tracker in list(self.trackers.items()):
            steps = self.sent[name]["steps"]
            new = {curve: value for curve, value in points.items() if state.global_step > steps.get(curve, -1)}
            if not new:
                continue
            with self.guarded(name):
                tracker.log(new, step=state.global_step)
                steps |= dict.fromkeys(new, state.global_step)
                files.write_json(self.path, self.sent)

    def finish(self) -> None:
        for name, tracker in list(self.trackers.items()):
            with self.guarded(name):
                tracker.finish()

    @contextlib.contextmanager
    def guarded(self, name: str):
        try:
            yield
        except Exception as problem:
            self.trackers.pop(name, None)
            print(f"warning: {name} gets no more points of this training: {describe(problem)}", flush=True)


def offline(folder: Path) -> dict[str, str]:
    """Return the environment variables that make trackers write to files, except those that the user has set."""
    (folder / "wandb").mkdir(parents=True, exist_ok=True)  # otherwise wandb uses /tmp
    return {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder),
        "MLFLOW_TRACKING_URI": (folder / "mlflow").as_uri(),  # files, because a database fails on NFS
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "TRACKIO_DIR": str(folder / "trackio"),
    }


def tracker_of(name: str, job: dict, content: dict, folder: Path, known: str | None) -> GeneralTracker:
    """Return a tracker that has not started; `known`: the id of its run if the training resumes.

    wandb and trackio replace the configuration of a run that continues.
    """
    run = run_name(job)
    if name == "tensorboard":  # hides the points of an earlier training of the run
        return TensorBoardTracker(run, folder / name, purge_step=None if known else 0)
    if name == "mlflow":
        # MLflow would use the script's name, which is that of Snakemake's temporary copy.
        return MLflowTracker(PROJECT, run_id=known, run_name=run, tags={"mlflow.source.name": job["rule"]})
    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return WandBTracker(project, name=run, id=known or uuid.uuid4().hex, resume="allow", config=content)
    resume = "must" if known else "never"
    return TrackioTracker(PROJECT, name=run, resume=resume, config=content, embed=False)


def id_of(tracker: GeneralTracker) -> str:
    return tracker.tracker.info.run_id if tracker.name == "mlflow" else getattr(tracker.tracker, "id", tracker.name)


def run_name(job: dict) -> str:
    return "{task}/{dataset}/{method}/{variant}/seed{seed}".format(**job["wildcards"])


def flat(content: dict) -> dict[str, bool | int | float | str]:
    """Return the entries of a record with flat names."""
    return {
        name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for name, value in made_from.flatten(content).items()
    }
