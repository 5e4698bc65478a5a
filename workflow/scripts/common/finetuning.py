"""What every fine-tuning does around its Trainer: arguments, attempts, the record of the run."""

import os
import shutil
import time
from pathlib import Path

from common import adapters, files, provenance
from common.job import processes


def training_arguments(job: dict, settings: dict, seed: int, scratch: Path, device: str, **task):
    """TrainingArguments of a run; `task` adds to them what only one task needs."""
    from transformers import TrainingArguments

    per_device = settings["batch_size"] // (settings["gradient_accumulation"] * processes(job))
    return TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=settings["epochs"],
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=settings.get("eval_batch_size", per_device),
        gradient_accumulation_steps=settings["gradient_accumulation"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        adam_epsilon=settings["adam_epsilon"],
        lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup_steps"],
        bf16=settings["precision"] == "bf16",
        fp16=settings["precision"] == "fp16",
        save_strategy="no",  # Survive asks for checkpoints
        seed=seed,
        data_seed=seed,
        use_cpu=device == "cpu",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=device == "cuda",
        report_to="none",
        disable_tqdm=True,
        **task,
    )


def total_steps(rows: int, settings: dict) -> int:
    """Optimiser steps of the whole training."""
    batches = -(-rows // (settings["batch_size"] // settings["gradient_accumulation"]))
    return int(-(-batches // settings["gradient_accumulation"]) * settings["epochs"])


def time_limit(job: dict, started: float) -> float | None:
    """When the scheduler kills the job, in Unix time; on a plain machine nobody does."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    # Older Slurms do not say it; the job began a little before its script.
    end = os.environ.get("SLURM_JOB_END_TIME")
    return float(end) if end else started + 60 * job["resources"]["runtime"]


def run_to_end(trainer, survive, scratch: Path, started: float) -> dict:
    """Train, from the last saved state where there is one; what came of each attempt. `Interrupted` if told to stop."""
    from common import training

    checkpoint, write = training.last_complete_checkpoint(scratch), trainer.is_world_process_zero()
    attempts = begin_attempt(scratch, checkpoint, write)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if survive.stopped and trainer.state.global_step < trainer.state.max_steps:
        end_attempt(scratch, attempts, started, write)
        raise training.Interrupted(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}: {survive.stopped}. "
            f"The state is in {scratch}; the next attempt goes on from there."
        )
    return attempts


def begin_attempt(scratch: Path, checkpoint: Path | None, write: bool = True) -> dict:
    """What earlier attempts left on record, with this one added."""
    path = scratch / "attempts.json"
    attempts = files.read_json(path) if path.exists() else {"started": None, "seconds": [], "resumed_from": []}
    attempts["started"] = attempts["started"] or provenance.now()
    attempts["seconds"].append(0.0)
    if checkpoint:
        attempts["resumed_from"].append(int(checkpoint.name.rsplit("-", 1)[1]))
    if write:
        files.write_json(path, attempts)
    return attempts


def end_attempt(scratch: Path, attempts: dict, started: float, write: bool = True) -> None:
    attempts["seconds"][-1] = time.time() - started
    if write:
        files.write_json(scratch / "attempts.json", attempts)


def finish(job: dict, attempts: dict, started: float, device: str, sizes: dict, **result) -> None:
    """Copy the weights from scratch to the run's folder, write the record last, and drop the scratch folder.

    `result`: steps, best_step, score and curve.
    """
    params, wildcards, scratch = job["params"], job["wildcards"], Path(job["params"]["scratch"])
    record = Path(job["output"]["record"])
    for name in set(job["output"]) - {"record"}:
        shutil.copytree(scratch / name, record.parent / name, dirs_exist_ok=True)
    end_attempt(scratch, attempts, started)
    model_manifest, data_manifest = (files.read_json(job["input"][name]) for name in ("model", "dataset"))
    files.write_json(
        record,
        {name: wildcards[name] for name in ("task", "dataset", "method", "variant")}
        | {
            "seed": int(wildcards["seed"]),
            "status": "ok",
            "method_version": params["method"]["version"],
            "task_version": params["task_version"],
            "preset": params["preset"],
            "hyperparameters": params["hyperparameters"],
            **sizes,
            "adapter_bytes": (record.parent / "last" / adapters.WEIGHTS).stat().st_size,
            **result,
            "seconds": round(sum(attempts["seconds"]), 3),
            "peak_memory_bytes": provenance.peak_memory_bytes(device),
            "device": provenance.device_name(device),
            "processes": processes(job),
            "attempts": len(attempts["seconds"]),
            "resumed_from": attempts["resumed_from"],
            "model": {"name": params["model_name"]} | {key: model_manifest[key] for key in ("revision", "sha256")},
            "data_sha256": data_manifest["sha256"],
            **provenance.record(params),
            "started": attempts["started"],
            "finished": provenance.now(),
        },
    )
    shutil.rmtree(scratch)


def untrained(job: dict, started: float, device: str, parameters: int) -> None:
    """The record of a model as it came: no step is taken, the weights are an empty file."""
    from safetensors.torch import save_file

    scratch = Path(job["params"]["scratch"])
    attempts = begin_attempt(scratch, None)
    for name in set(job["output"]) - {"record"}:
        (scratch / name).mkdir(parents=True, exist_ok=True)
    save_file({}, scratch / "last" / adapters.WEIGHTS, metadata={"format": "pt"})
    sizes = {"total_parameters": parameters, "trainable_parameters": 0, "adapter_parameters": 0}
    finish(job, attempts, started, device, sizes, steps=0, best_step=None, score="loss", curve=[])
