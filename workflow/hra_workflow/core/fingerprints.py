"""Fingerprints of everything a result depends on, to decide whether a job may reuse earlier files."""

import hashlib
import json
from pathlib import Path

from hra_workflow.core import files, provenance
from hra_workflow.core.job import processes, recorded_params

NEUTRAL_INPUTS = ("latents",)  # latents that were encoded earlier change results only by rounding
ROUNDING = ("eval_batch_size", "gradient_checkpointing")  # hyper-parameters that change results only by rounding
PACKAGES = ("torch", "peft", "transformers", "diffusers")


def digest(content) -> str:
    """Hash everything that a cached file depends on to 16 hexadecimal digits, used to name the file or its folder."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def of_training(job: dict, steps: int, per_process: bool, packages: tuple[str, ...] = ()) -> dict:
    """Collect everything that the results of a training run depend on, as JSON.

    `steps`: total number of optimiser steps. `per_process`: random numbers depend on the number of processes.
    `packages`: those besides PACKAGES whose versions change the results.
    """
    content = recorded_params(job) | {"seed": int(job["wildcards"]["seed"]), "steps": steps}
    content["processes"] = processes(job) if per_process else None  # not the param: fewer GPUs may be available
    inputs = {name: path for name, path in job["input"].items() if path and name not in NEUTRAL_INPUTS}
    content["inputs"] = {name: of_input(path) for name, path in inputs.items()}
    content["versions"] = {name: minor(provenance.version(name)) for name in (*PACKAGES, *packages)}
    return json.loads(json.dumps(content))


def minor(version: str) -> str:
    """Shorten a version to the two numbers in which results may differ."""
    return ".".join(version.split(".")[:2])


def of_input(path: str) -> str:
    """Return the SHA-256 of the files that a manifest lists, or of the file itself if it is not a manifest."""
    listed = files.read_json(path).get("sha256") if Path(path).suffix == ".json" else None
    return listed or files.sha256(path)


def differences(saved: dict, now: dict) -> list[str]:
    """List the entries that differ, in the form `learning_rate 0.02, now 0.001`."""
    before, after = flatten(saved), flatten(now)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key) and key not in ROUNDING]
    return [f"{key} {format_value(before.get(key))}, now {format_value(after.get(key))}" for key in keys]


def flatten(content: dict, prefix: str = "") -> dict:
    """Flatten nested entries to dotted names; hyper-parameters keep their own names."""
    found = {}
    for key, value in content.items():
        name = key if prefix in ("", "hyperparameters.") else prefix + key
        found |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def format_value(value) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}…" if len(text) == 64 else text[:80]
