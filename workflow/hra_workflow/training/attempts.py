"""An attempt of a job to train a run: it trains, resumes if it was killed, and publishes record and weights.

A killed job resumes from the last checkpoint, in the scratch folder, and ends with exactly the same results. A run that
diverges has a result too: a record with the error, without weights.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hra_workflow.core import files, gpus, made_from, manifests, provenance, records, tuning
from hra_workflow.models import adapters
from hra_workflow.training import checkpoints

HISTORY = "attempts.json"
SCORES = "scores"  # the output of a training job with the scores of items, for the evaluation


@contextlib.contextmanager
def recorded(job: dict) -> Iterator["Attempt"]:
    """Yield this attempt of a training job; write a record also if the run diverges, which ends all its processes."""
    tuning.require_choice(job)
    attempt = Attempt(job, provenance.pick_device(job))
    try:
        yield attempt
    except FloatingPointError as problem:
        if attempt.made_from is None:
            raise
        if attempt.writes:
            attempt.publish_divergence(str(problem))


@dataclass
class Attempt:
    """One attempt to train the run of a job.

    started: in seconds of the monotonic clock. made_from: what the run is made from, once its training has begun.
    history: the record of this attempt and those before it, in attempts.json.
    """

    job: dict
    device: str
    started: float = field(default_factory=time.monotonic)
    made_from: dict | None = None
    history: dict = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        return Path(self.job["params"]["scratch"])

    @property
    def outputs(self) -> list[str]:  # names of the folders next to the record
        return sorted(set(self.job["output"]) - {"record"})

    @property
    def is_trial(self) -> bool:
        return tuning.MARK in self.job["wildcards"]["variant"]

    @property
    def writes(self) -> bool:  # this process, the only or first one
        return int(os.environ.get("RANK", 0)) == 0

    def train(self, trainer, steps: int) -> None:
        """Train for `steps` optimiser steps from the last usable checkpoint; raise Interrupted if interrupted."""
        import torch

        from hra_workflow.training import callbacks, trackers

        job = self.job
        checkpoint = self.begin(steps, gpus.processes(job) if trainer.per_process else None, trainer.packages)
        measured = callbacks.probe_callback(job, resumed=bool(checkpoint))
        if measured:
            trainer.add_callback(measured)
        end = callbacks.time_limit()
        on_signal = callbacks.CheckpointOnSignal(job["resources"]["save_seconds"], end, trainer.restart_every)
        trainer.add_callback(on_signal)
        wall, cpu = time.monotonic(), time.process_time()
        if checkpoint and checkpoints.step_of(checkpoint) == steps:
            trainer.resume(checkpoint)
            print("this run had been trained before")
        else:
            names = job["params"]["trackers"]["report_to"] if self.writes else []
            tracked = trackers.reporting(trainer, names, job, self.entries()) if names else contextlib.nullcontext()
            with on_signal, tracked:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            share = (time.process_time() - cpu) / (time.monotonic() - wall) / torch.get_num_threads()
            self.history["cpu_share"] = round(min(share, self.history.get("cpu_share", share)), 3)
        self.count()
        if on_signal.stopped and trainer.state.global_step < trainer.state.max_steps:
            raise callbacks.Interrupted(
                f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}: {on_signal.stopped}. "
                f"The training checkpoint is in {self.scratch}; the next attempt resumes from it."
            )
        callbacks.check_weights(trainer.model, trainer.state.global_step)
        if measured and self.writes:
            measured.report(job, self.device)

    def begin(self, steps: int, processes: int | None = None, packages: tuple[str, ...] = ()) -> Path | None:
        """Add this attempt to the record of those before it; return the checkpoint from which it resumes.

        The arguments are those of made_from.of_training.
        """
        self.made_from = made_from.of_training(self.job, steps, processes, packages)
        found = checkpoints.usable(self.scratch, self.made_from) if self.writes else (None, [])
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            from accelerate.utils import broadcast_object_list

            found = broadcast_object_list(list(found))  # one process chooses for all
        checkpoint, discarded = found
        path = self.scratch / HISTORY
        lists = ("seconds", "runs_per_gpu", "resumed_from", "discarded")
        new = {"started": provenance.now()} | {name: [] for name in lists}
        self.history = history = files.read_json(path) if path.exists() else new
        history["seconds"].append(0.0)
        history["runs_per_gpu"].append(gpus.runs_per_gpu(self.job))
        history["resumed_from"] += [checkpoints.step_of(checkpoint)] if checkpoint else []
        history["discarded"] += discarded
        if self.writes:
            files.write_json(path, history)
        return checkpoint

    def count(self) -> None:
        """Record the seconds and the peak memory of this attempt so far."""
        peak = provenance.peak_memory_bytes(self.device)
        self.history["peak_memory_bytes"] = max(self.history.get("peak_memory_bytes", 0), peak)
        self.history["seconds"][-1] = time.monotonic() - self.started
        if self.writes:
            files.write_json(self.scratch / HISTORY, self.history)

    def new_outputs(self) -> Path:
        """Return a folder for the outputs before they are published, with the weights that the training has kept."""
        new = self.scratch / checkpoints.UNSEALED / "outputs"
        for name in self.outputs:
            (new / name).mkdir(parents=True, exist_ok=True)
            for path in checkpoints.contents(self.scratch / name):
                files.link(path, new / path.relative_to(self.scratch))
        return new

    def publish(self, new: Path, sizes: dict, result: dict) -> None:
        """Write the record and publish it with the contents of the folder `new` as the job's outputs.

        sizes: numbers of parameters. result: steps, best_step, score and curve, and entries of the record that take
        precedence. The last checkpoint remains until Snakemake has recorded the run (core/lock.py): until then,
        a repeated job need not train again.
        """
        adapter_bytes = (new / "last" / adapters.WEIGHTS).stat().st_size
        if self.is_trial:
            for name in self.outputs:
                write_empty(new / name)
        patterns = (adapters.WEIGHTS, manifests.CONFIG, f"{SCORES}/*")
        saved = sorted(path for pattern in patterns for path in new.rglob(pattern))
        weights = {str(path.relative_to(new)): files.sha256(path) for path in saved}
        self.count()
        record = self.described() | sizes | {"adapter_bytes": adapter_bytes, "weights_sha256": weights} | result
        place = Path(self.job["output"]["record"])
        for name in self.outputs:  # one of the folders may be empty
            (place.parent / name).mkdir(parents=True, exist_ok=True)
        for path in checkpoints.contents(new):
            files.link(path, output := place.parent / path.relative_to(new))
            os.utime(output)  # outputs must be newer than inputs, or Snakemake repeats the job
        records.write(place, record)
        checkpoints.remove(self.scratch / checkpoints.UNSEALED)
        for name, point in zip(("first", "last"), result["curve"][:1] + result["curve"][-1:], strict=False):
            print(f"{name} {result['score']}: {point['metrics'][result['score']]:.4f}")

    def publish_untrained(self, parameters: int) -> None:
        """Publish a run without training, with an empty weights file. `parameters`: number in the model."""
        if not self.writes:
            return
        self.begin(0)
        new = self.new_outputs()
        write_empty(new / "last")
        sizes = {"total_parameters": parameters, "trainable_parameters": 0, "adapter_parameters": 0}
        self.publish(new, sizes, {"steps": 0, "best_step": None, "score": "loss", "curve": []})

    def publish_divergence(self, error: str) -> None:
        """Write the record of a run that has diverged, without weights; remove its checkpoints."""
        print(f"The run diverged: {error}")
        place = Path(self.job["output"]["record"])
        content = self.entries() | {
            "status": records.DIVERGED,
            "error": error,
            "seconds": round(time.monotonic() - self.started, 3),
            "device": provenance.device_name(self.device),
            "finished": provenance.now(),
            made_from.KEY: self.made_from,
        }
        for name in self.outputs:
            write_empty(place.parent / name)
        records.write(place, content)
        checkpoints.remove(self.scratch)

    def described(self) -> dict:
        """Return the entries of a record that every finished run has."""
        history = self.history
        return self.entries() | {
            "status": "ok",
            "seconds": round(sum(history["seconds"]), 3),
            "device_seconds": round(gpus.device_seconds(history) * gpus.processes(self.job), 3),
            "runs_per_gpu": max(history["runs_per_gpu"]),
            # Utilisation of its threads: on a CPU, less than 1 if other processes ran at the same time.
            "cpu_share": history.get("cpu_share"),
            "peak_memory_bytes": history["peak_memory_bytes"],
            "device": provenance.device_name(self.device),
            "attempts": len(history["seconds"]),
            "resumed_from": history["resumed_from"],
            "discarded": history["discarded"],
            "started": history["started"],
            "finished": provenance.now(),
            made_from.KEY: self.made_from,
        }

    def entries(self) -> dict:
        """Return the entries of a record that follow from the job: names, settings, versions, model, data and code."""
        params, wildcards = self.job["params"], self.job["wildcards"]
        model, data = (self.job["input"][name] for name in ("model", "dataset"))
        # As at the start of training, if it has started: the files may have changed since.
        inputs = self.made_from["inputs"] if self.made_from else {}
        recomputes = params.get("gradient_checkpointing")
        rounding = {} if recomputes is None else {"gradient_checkpointing": recomputes}
        return {name: wildcards[name] for name in ("task", "dataset", "method", "variant")} | {
            "seed": int(wildcards["seed"]),
            "method_version": params["method"]["version"],
            "task_version": params["task_version"],
            "preset": params["preset"],
            "hyperparameters": params["hyperparameters"] | rounding,
            "processes": gpus.processes(self.job),
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
