"""Fine-tune one run on a GLUE-format dataset, from the augmented checkpoint, with the transformers Trainer.

Writes RUN/train.json (the record), RUN/last and RUN/best (the weights after the last step and at the best dev score).
The state of the training lies in the scratch folder; a job that was killed goes on from there and ends with the same
numbers.
"""

import os
import shutil
import time
from pathlib import Path

from common import adapters, files, glue, manifests, provenance
from common.job import processes, start


def main(job: dict) -> None:
    import numpy as np
    from transformers import DataCollatorWithPadding

    from common import metrics, training

    started, started_at = time.time(), provenance.now()
    params, wildcards = job["params"], job["wildcards"]
    dataset, method, settings = params["dataset"], params["method"], params["hyperparameters"]
    seed, scratch = int(wildcards["seed"]), Path(params["scratch"])
    device = provenance.pick_device(job["resources"].get("gpu", 0), params.get("device"))

    model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
    tokenizer = glue.load_tokenizer(model_folder)
    dev_split = next(iter(dataset["benchmarks"].values()))
    train, dev = (
        glue.tokenized(data_folder, split, dataset["columns"], tokenizer, settings["max_length"])
        for split in ("train", dev_split)
    )
    arguments = training_arguments(job, settings, seed, scratch, device)
    model = adapters.load_classifier(model_folder, dataset["labels"], seed, settings.get("classifier_dropout"))
    model = adapters.start_training(
        model, method, params["head"], Path(job["input"]["augmented"]).parent, total_steps(len(train), settings)
    )
    sizes = adapters.count(model, params["head"])

    def judge(prediction) -> dict[str, float]:
        predicted = metrics.predictions(prediction.predictions, dataset["labels"])
        return metrics.values(dataset["metrics"], np.asarray(prediction.label_ids), predicted)

    survive = training.Survive(job["resources"]["save_minutes"], time_limit(job), started)
    callbacks = [survive, training.KeepBest(scratch / "best", dataset["score"], model)]
    if method["kind"] == "adalora":
        callbacks.append(training.AllocateRanks())
    trainer = training.ResumableTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=dev,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=judge,
        callbacks=callbacks,
        method=method,
    )
    checkpoint = training.last_complete_checkpoint(scratch)
    attempts = begin_attempt(scratch, checkpoint, trainer.is_world_process_zero())
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if survive.stopped and trainer.state.global_step < trainer.state.max_steps:
        end_attempt(scratch, attempts, started, trainer.is_world_process_zero())
        raise training.Interrupted(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}: {survive.stopped}. "
            f"The state is in {scratch}; the next attempt goes on from there."
        )
    if not evaluated_last(trainer):
        trainer.evaluate()
    if not trainer.is_world_process_zero():
        return

    curve = training.curve(trainer.state.log_history, dataset["metrics"])
    best = max(curve, key=lambda entry: entry["metrics"][dataset["score"]])
    record = Path(job["output"]["record"])
    adapters.save(model, scratch / "last")
    for name in ("last", "best"):
        shutil.copytree(scratch / name, record.parent / name, dirs_exist_ok=True)
    end_attempt(scratch, attempts, started)
    model_manifest, data_manifest = (files.read_json(job["input"][name]) for name in ("model", "dataset"))
    files.write_json(
        record,
        {
            "task": wildcards["task"],
            "dataset": wildcards["dataset"],
            "method": wildcards["method"],
            "variant": wildcards["variant"],
            "seed": seed,
            "status": "ok",
            "method_version": method["version"],
            "task_version": params["task_version"],
            "preset": params["preset"],
            "hyperparameters": settings,
            **sizes,
            "adapter_bytes": (record.parent / "last" / adapters.WEIGHTS).stat().st_size,
            "steps": trainer.state.global_step,
            "best_step": best["step"],
            "score": dataset["score"],
            "curve": curve,
            "seconds": round(sum(attempts["seconds"]), 3),
            "peak_memory_bytes": provenance.peak_memory_bytes(device),
            "device": provenance.device_name(device),
            "processes": processes(job),
            "attempts": len(attempts["seconds"]),
            "resumed_from": attempts["resumed_from"],
            "model": {"name": params["model_name"]} | {key: model_manifest[key] for key in ("revision", "sha256")},
            "data_sha256": data_manifest["sha256"],
            **provenance.record(params),
            "started": attempts["started"] or started_at,
            "finished": provenance.now(),
        },
    )
    shutil.rmtree(scratch)
    last, highest = (entry["metrics"][dataset["score"]] for entry in (curve[-1], best))
    print(f"{dataset['score']}: last {last:.4f}, best {highest:.4f}")


def training_arguments(job: dict, settings: dict, seed: int, scratch: Path, device: str):
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
        eval_strategy="steps",
        eval_steps=settings["eval_steps"],
        save_strategy="no",  # Survive asks for checkpoints
        logging_steps=max(1, settings["eval_steps"] // 2),
        seed=seed,
        data_seed=seed,
        use_cpu=device == "cpu",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=device == "cuda",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=True,
    )


def total_steps(rows: int, settings: dict) -> int:
    """Optimiser steps of the whole training."""
    batches = -(-rows // (settings["batch_size"] // settings["gradient_accumulation"]))
    return int(-(-batches // settings["gradient_accumulation"]) * settings["epochs"])


def time_limit(job: dict) -> float | None:
    """The scheduler's time limit in minutes; on a plain machine nobody kills the job."""
    return job["resources"].get("runtime") if "SLURM_JOB_ID" in os.environ else None


def evaluated_last(trainer) -> bool:
    steps = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return bool(steps) and steps[-1] == trainer.state.global_step


def begin_attempt(scratch: Path, checkpoint: Path | None, write: bool) -> dict:
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


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
