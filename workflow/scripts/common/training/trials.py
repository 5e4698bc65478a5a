"""The training job of a trial of hyper-parameters: its error is a result, and its weights are not kept."""

import math
import shutil
import time
from collections.abc import Callable, Sized
from functools import wraps
from pathlib import Path

from common.core import files, lease, provenance, tuning
from common.core.job import describe, processes
from common.core.process_identity import orphaned
from common.models import adapters
from common.training import finished_runs

# What the values of a trial can cause. Missing or damaged files, full disks and interruptions stop the job instead.
FAULTS = (ValueError, ArithmeticError, RuntimeError)


def is_trial(job: dict) -> bool:
    return tuning.MARK in job["wildcards"]["variant"]


def recorded(main: Callable[[dict], None]) -> Callable[[dict], None]:
    """Wrap the `main` of a training script, so that a trial which fails writes a record with its error.

    Errors of the device, such as too little memory, are raised: Snakemake may repeat the job. So are those of one of
    several processes, since the others wait for it, and those after Snakemake has ended.
    """

    @wraps(main)
    def train(job: dict) -> None:
        tuning.require_choice(job)
        started = time.monotonic()
        try:
            main(job)
        except FAULTS as problem:
            if not is_trial(job) or processes(job) > 1 or is_of_device(problem) or orphaned():
                raise
            fail(job, problem, started)

    return train


def is_of_device(problem: Exception) -> bool:
    import torch

    return isinstance(problem, torch.OutOfMemoryError | torch.AcceleratorError)


def last_step(job: dict, steps: int) -> int:
    """Return the step at which a run ends: that of the rung of a trial, or the last of all `steps`."""
    return max(1, round(job["params"]["hyperparameters"].get("rung", tuning.END) * steps))


def callbacks(job: dict) -> list:
    """Return the callbacks that end a trial at its rung, or when its loss is no number any more; [] for other runs."""
    from transformers import TrainerCallback

    class EndAtRung(TrainerCallback):
        """Ends with a checkpoint, from which the run up to the next rung goes on."""

        def on_step_end(self, args, state, control, **_):
            if last_step(job, state.max_steps) == state.global_step < state.max_steps:
                control.should_save = control.should_training_stop = True

    class EndAtDivergence(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **_):
            if not math.isfinite(loss := metrics["eval_loss"]):
                raise FloatingPointError(f"the loss on the held-out rows is {loss} at step {state.global_step}")

    return [EndAtRung(), EndAtDivergence()] if is_trial(job) else []


def score(metric: str, value: float, train: Sized, held_out: Sized) -> dict:
    """Return the entry `held_out` of the record: what a trial is judged by, and the numbers of rows."""
    return {"metric": metric, "value": value, "rows": len(held_out), "train_rows": len(train)}


def fail(job: dict, problem: Exception, started: float) -> None:
    """Write the record of a failed trial, and remove its checkpoints."""
    params, wildcards = job["params"], job["wildcards"]
    print(f"The trial failed: {describe(problem)}")
    record = Path(job["output"]["record"])
    lease.check()
    for name in finished_runs.outputs(job):
        empty(record.parent / name)
    content = {name: wildcards[name] for name in ("task", "dataset", "method", "variant")} | {
        "seed": int(wildcards["seed"]),
        "status": "diverged" if isinstance(problem, FloatingPointError) else "failed",
        "error": describe(problem),
        "hyperparameters": params["hyperparameters"],
        "seconds": round(time.monotonic() - started, 3),
        "device": provenance.device_name(provenance.pick_device(job["resources"].get("gpu", 0), params.get("device"))),
        **provenance.record(params),
        "finished": provenance.now(),
    }
    files.write_json(record, content)
    finished_runs.remove_training(job)


def empty(folder: Path) -> None:
    """Make a folder with a weights file without tensors, and nothing else."""
    from safetensors.numpy import save_file  # no torch, which takes seconds to import

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file({}, folder / adapters.WEIGHTS, metadata={"format": "pt"})
