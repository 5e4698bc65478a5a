"""The parts of a training run outside of the Trainer: its arguments, attempts and record.

A killed job resumes from the last checkpoint, in the scratch folder, and ends with exactly the same results.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import files, gpus, made_from, manifests, provenance, records
from hra_workflow.core.job import processes
from hra_workflow.models import adapters
from hra_workflow.training import checkpoints, trials


def training_arguments(job: dict, settings: dict, seed: int, scratch: Path, device: str, kind=None, **task):
    """Return the TrainingArguments of a run, or their subclass `kind`; `task`: additional arguments of its task."""
    from transformers import TrainingArguments

    per_device = settings["batch_size"] // (settings["gradient_accumulation"] * processes(job))
    return (kind or TrainingArguments)(
        output_dir=str(checkpoints.unsealed_folder(scratch)),
        num_train_epochs=settings.get("epochs", 1),
        max_steps=settings.get("max_steps", -1),
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=job["params"].get("eval_batch_size") or per_device,
        gradient_accumulation_steps=settings["gradient_accumulation"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        adam_epsilon=settings["adam_epsilon"],
        lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup_steps"],
        train_sampling_strategy="group_by_length" if settings.get("group_by_length") is True else "random",
        bf16=settings["precision"] == "bf16",
        fp16=settings["precision"] == "fp16",
        logging_nan_inf_filter=False,  # otherwise it logs another number instead of NaN
        save_strategy="no",  # CheckpointOnSignal requests them
        seed=seed,
        data_seed=seed,
        use_cpu=device == "cpu",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=device == "cuda",
        accelerator_config={"non_blocking": device == "cuda"},  # an asynchronous copy would wait for the step before it
        report_to="none",
        disable_tqdm=True,
        **task,
    )


def initial_adapter(job: dict) -> Path:
    """Return the folder of a run's initial adapter; raise JobError if it is not the requested one."""
    made_from.check_input(job, "augmented", files.read_json(job["input"]["augmented"]).get(made_from.KEY, {}))
    return manifests.folder(job["input"]["augmented"])


def total_steps(rows: int, settings: dict) -> int:
    """Return the total number of optimiser steps."""
    if "max_steps" in settings:
        return settings["max_steps"]
    batches = -(-rows // (settings["batch_size"] // settings["gradient_accumulation"]))
    return math.ceil(settings["epochs"] * -(-batches // settings["gradient_accumulation"]))  # as transformers rounds


def run_to_end(job: dict, trainer, started: float, steps: int) -> dict:
    """Train from the last usable checkpoint and return the record of all attempts; raise Interrupted if interrupted.

    `started`: the start of the job, in seconds of the monotonic clock. `steps`: total number of optimiser steps. The
    job gets the entries `made_from` and, if it reports to trackers, `tracked`.
    """
    import torch
    from accelerate.utils import broadcast_object_list

    from hra_workflow.training import divergence, measurement
    from hra_workflow.training.interruption import CheckpointOnSignal, Interrupted, time_limit

    scratch, write = Path(job["params"]["scratch"]), trainer.is_world_process_zero()
    number = processes(job) if trainer.per_process else None
    job[made_from.KEY] = made_from.of_training(job, steps, number, trainer.packages)
    chosen = list(usable_checkpoint(job)) if write else [None, []]  # one process chooses for all
    checkpoint, discarded = broadcast_object_list(chosen)
    attempts = begin_attempt(job, checkpoint, discarded, write)
    if write and job["params"]["trackers"]["report_to"]:
        from hra_workflow.training.trackers import Tracked

        job["tracked"] = Tracked(job)
        trainer.add_callback(job["tracked"])
    measured = measurement.probe_callback(job, resumed=bool(checkpoint))
    if measured:
        trainer.add_callback(measured)
    on_signal = CheckpointOnSignal(job["resources"]["save_seconds"], time_limit(job), trainer.restart_every)
    trainer.add_callback(on_signal)
    wall, cpu = time.monotonic(), time.process_time()
    if checkpoint and checkpoints.step_of(checkpoint) == steps:
        trainer.resume(checkpoint)
        print("this run had been trained before")
    else:
        with on_signal:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        share = (time.process_time() - cpu) / (time.monotonic() - wall) / torch.get_num_threads()
        attempts["cpu_share"] = round(min(share, attempts.get("cpu_share", share)), 3)
    end_attempt(job, attempts, started, write)
    if on_signal.stopped and trainer.state.global_step < trainer.state.max_steps:
        raise Interrupted(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}: {on_signal.stopped}. "
            f"The training checkpoint is in {scratch}; the next attempt resumes from it."
        )
    divergence.check_weights(trainer.model, trainer.state.global_step)
    if measured and write:
        measured.report(job, provenance.pick_device(job))
    return attempts


def usable_checkpoint(job: dict) -> tuple[Path | None, list[str]]:
    """Return the checkpoint to resume from, and why others were discarded.

    A checkpoint of a different training run (settings, data, versions) is set aside; a damaged one is deleted.
    """
    scratch = Path(job["params"]["scratch"])
    scratch.mkdir(parents=True, exist_ok=True)
    discarded = checkpoints.claim(scratch, job[made_from.KEY])
    checkpoint, damaged = checkpoints.newest(scratch)
    if damaged and not checkpoint:  # the kept weights belong to the lost checkpoint
        for name in checkpoints.KEPT:
            checkpoints.remove(scratch / name)
    discarded += damaged
    for reason in discarded:
        print(f"{reason}: {f'resuming at {checkpoint.name}' if checkpoint else 'starting over'}")
    return checkpoint, discarded


def begin_attempt(job: dict, checkpoint: Path | None, discarded: list[str], write: bool = True) -> dict:
    """Return the record of the earlier attempts with this one added."""
    path = attempts_file(job)
    attempts = files.read_json(path) if path.exists() else {"started": None, "seconds": [], "resumed_from": []}
    attempts["started"] = attempts["started"] or provenance.now()
    attempts.setdefault("runs_per_gpu", [1] * len(attempts["seconds"])).append(gpus.runs_per_gpu(job))
    attempts["seconds"].append(0.0)
    if checkpoint:
        attempts["resumed_from"].append(checkpoints.step_of(checkpoint))
    attempts["discarded"] = attempts.get("discarded", []) + discarded
    if write:
        files.write_json(path, attempts)
    return attempts


def end_attempt(job: dict, attempts: dict, started: float, write: bool = True) -> None:
    device = provenance.pick_device(job)
    attempts["peak_memory_bytes"] = max(attempts.get("peak_memory_bytes", 0), provenance.peak_memory_bytes(device))
    attempts["seconds"][-1] = time.monotonic() - started
    if write:
        files.write_json(attempts_file(job), attempts)


def attempts_file(job: dict) -> Path:
    return Path(job["params"]["scratch"], "attempts.json")


def finish(
    job: dict,
    attempts: dict,
    started: float,
    device: str,
    sizes: dict,
    save: Callable[[Path], None],
    **result,
) -> None:
    """Write the weights and the record, and publish them as the job's outputs.

    The last checkpoint remains until Snakemake has recorded the run (core/job.py): until then, a repeated job need not
    train again.

    `save` writes the weights of the last step to a folder. `result`: steps, best_step, score and curve, and entries of
    the record that take precedence.
    """
    scratch, record_file = Path(job["params"]["scratch"]), Path(job["output"]["record"])
    new = checkpoints.unsealed_folder(scratch) / "outputs"
    for name in trials.outputs(job):
        (new / name).mkdir(parents=True, exist_ok=True)
        for path in checkpoints.contents(scratch / name):
            files.link(path, new / path.relative_to(scratch))
    save(new / "last")
    adapter_bytes = (new / "last" / adapters.WEIGHTS).stat().st_size
    if trials.is_trial(job):
        for name in trials.outputs(job):
            trials.write_empty(new / name)
    saved = sorted(
        path for name in (adapters.WEIGHTS, manifests.CONFIG, f"{trials.SCORES}/*") for path in new.rglob(name)
    )
    weights = {str(path.relative_to(new)): files.sha256(path) for path in saved}
    end_attempt(job, attempts, started)
    record = described(job, attempts, device) | sizes | {"adapter_bytes": adapter_bytes, "weights_sha256": weights}
    record = records.with_digest(record | result)
    for name in trials.outputs(job):  # one of the folders may be empty
        (record_file.parent / name).mkdir(parents=True, exist_ok=True)
    for path in checkpoints.contents(new):
        files.link(path, place := record_file.parent / path.relative_to(new))
        os.utime(place)  # outputs must be newer than inputs, or Snakemake repeats the job
    files.write_json(record_file, record)
    checkpoints.remove(checkpoints.folder_aside(scratch))
    checkpoints.remove(checkpoints.unsealed_folder(scratch))


def described(job: dict, attempts: dict, device: str) -> dict:
    """Return the entries of a record that every finished run has."""
    return trials.job_entries(job) | {
        "status": "ok",
        "seconds": round(sum(attempts["seconds"]), 3),
        "device_seconds": round(gpus.device_seconds(attempts) * processes(job), 3),
        "runs_per_gpu": max(attempts["runs_per_gpu"]),
        # Utilisation of its threads: on a CPU, less than 1 if other processes ran at the same time.
        "cpu_share": attempts.get("cpu_share"),
        "peak_memory_bytes": attempts["peak_memory_bytes"],
        "device": provenance.device_name(device),
        "attempts": len(attempts["seconds"]),
        "resumed_from": attempts["resumed_from"],
        "discarded": attempts["discarded"],
        "started": attempts["started"],
        "finished": provenance.now(),
        made_from.KEY: job[made_from.KEY],
    }


def finish_last(
    job: dict, trainer, attempts: dict, started: float, device: str, sizes: dict, curve: list, save, **result
) -> None:
    """Finish a run that keeps the weights of its last step; `curve` holds the training loss."""
    result = {"score": "loss"} | result | {"steps": trainer.state.global_step, "best_step": None, "curve": curve}
    finish(job, attempts, started, device, sizes, save, **result)
    first, last = (curve[at]["metrics"][result["score"]] for at in (0, -1))
    print(f"{result['score']}: first {first:.4f}, last {last:.4f}")


def untrained(job: dict, started: float, device: str, parameters: int) -> None:
    """Write the record of a run without training, and an empty weights file. `parameters`: number in the model."""
    if int(os.environ.get("RANK", 0)):
        return
    job[made_from.KEY] = made_from.of_training(job, 0, None)
    _, discarded = usable_checkpoint(job)
    attempts = begin_attempt(job, None, discarded)
    sizes = {"total_parameters": parameters, "trainable_parameters": 0, "adapter_parameters": 0}
    finish(job, attempts, started, device, sizes, trials.write_empty, steps=0, best_step=None, score="loss", curve=[])
