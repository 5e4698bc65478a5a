"""The training job of a trial of hyper-parameters, whose error is a result and whose weights are not kept.

Divergence of any run is a result as well, and is also recorded here.
"""

import os
import shutil
import time
from collections.abc import Callable, Sized
from functools import wraps
from pathlib import Path

from hra_workflow.core import files, made_from, provenance, records, tuning
from hra_workflow.core.job import describe, processes
from hra_workflow.models import adapters
from hra_workflow.training import checkpoints

SCORES = "scores"  # the output of a training job with the scores of items, for the evaluation

# Errors that a trial's values can cause. Missing or damaged files, full disks and interruptions stop the job instead.
FAULTS = (ValueError, ArithmeticError, RuntimeError)


def is_trial(job: dict) -> bool:
    return tuning.MARK in job["wildcards"]["variant"]


def recorded(main: Callable[[dict], None]) -> Callable[[dict], None]:
    """Wrap the `main` of a training script, so that a run that diverges or a trial that fails writes a record.

    Errors of the device, such as insufficient memory, are raised: Snakemake may repeat the job. Errors in one of
    several processes are raised too, since the others wait for it (divergence ends all of them).
    """

    @wraps(main)
    def train(job: dict) -> None:
        tuning.require_choice(job)
        started = time.monotonic()
        try:
            main(job)
        except FAULTS as problem:
            diverged = isinstance(problem, FloatingPointError) and made_from.KEY in job
            of_job = not is_trial(job) or processes(job) > 1 or is_of_device(problem)
            if of_job and not diverged:
                raise
            if not int(os.environ.get("RANK", 0)):
                write_failure(job, problem, started, diverged)
        finally:
            if tracked := job.get("tracked"):
                tracked.finish()

    return train


def is_of_device(problem: Exception) -> bool:
    import torch

    return isinstance(problem, torch.OutOfMemoryError | torch.AcceleratorError)


def score(metric: str, value: float, train: Sized, held_out: Sized) -> dict:
    """Return the entry `held_out` of the record: the score on which a trial is evaluated, and the numbers of rows."""
    return {"metric": metric, "value": value, "rows": len(held_out), "train_rows": len(train)}


def write_failure(job: dict, problem: Exception, started: float, diverged: bool) -> None:
    """Write the record of a run that has diverged or of a failed trial, without weights; remove its checkpoints."""
    error = str(problem) if diverged else describe(problem)
    print(f"The {'run diverged' if diverged else 'trial failed'}: {error}")
    record = Path(job["output"]["record"])
    content = job_entries(job) | {
        "status": records.DIVERGED if diverged else "failed",
        "error": error,
        "seconds": round(time.monotonic() - started, 3),
        "device": provenance.device_name(provenance.pick_device(job)),
        "finished": provenance.now(),
        # A trial may fail before its number of steps is known.
        made_from.KEY: job.get(made_from.KEY) or made_from.of_training(job, 0, None),
    }
    for name in outputs(job):
        write_empty(record.parent / name)
    records.write(record, content)
    scratch = Path(job["params"]["scratch"])
    for folder in (checkpoints.folder_aside(scratch), scratch):
        checkpoints.remove(folder)


def outputs(job: dict) -> list[str]:
    """List the names of the folders of weights next to the record."""
    return sorted(set(job["output"]) - {"record"})


def job_entries(job: dict) -> dict:
    """Return the entries of a record that follow from its job: names, settings, versions, model, data and code."""
    params, wildcards = job["params"], job["wildcards"]
    model, data = (job["input"][name] for name in ("model", "dataset"))
    # As at the start of training, if it has started: the files may have changed since.
    inputs = job[made_from.KEY]["inputs"] if made_from.KEY in job else {}
    recomputes = params.get("gradient_checkpointing")  # `auto` is recorded as the chosen value, once it is chosen
    chosen = {} if recomputes is None else {"gradient_checkpointing": bool(recomputes)}
    return {name: wildcards[name] for name in ("task", "dataset", "method", "variant")} | {
        "seed": int(wildcards["seed"]),
        "method_version": params["method"]["version"],
        "task_version": params["task_version"],
        "preset": params["preset"],
        "hyperparameters": params["hyperparameters"] | chosen,
        "processes": processes(job),
        "model": {
            "name": params["model_name"],
            "revision": files.read_json(model)["revision"],
            "sha256": inputs.get(model) or made_from.of_input(model),
        },
        "data_sha256": inputs.get(data) or made_from.of_input(data),
        **provenance.record(),
    }


def write_empty(folder: Path) -> None:
    """Make a folder with a weights file without tensors, and nothing else; the folder of scores stays empty."""
    from safetensors.numpy import save_file  # no torch, which takes seconds to import

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if folder.name != SCORES:
        save_file({}, folder / adapters.WEIGHTS, metadata={"format": "pt"})
