"""A rough estimate of the CPU time of jobs without measurements, from the sizes of their model and texts."""

import math
import os

from hra_workflow.cost import downloads
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.data import local_files
from hra_workflow.tasks.base import Task

# Per second and thread, all parameters counted. The demo's runs of text classification (LoRA and HRA, batches of 16)
# reach 85e9 on a free core of an AMD EPYC, and 10e9 on one shared by six processes.
FLOPS = (5e9, 150e9)
STARTUP = (3, 30)  # seconds: Python and its libraries, the model
LIKELY_STARTUP = 10
FLOPS_PER_PARAMETER = 6  # and token: two in the forward pass, four in the backward pass
FLOAT32 = 4


def guess(config: dict, task: Task | None, job: Job) -> list[float] | None:
    """Return a job's estimated seconds, their minimum and their maximum; None if it uses a GPU or is unknown.

    The estimate is the geometric mean of the two bounds.
    """
    if job.gpus or not job.work or not job.model:
        return None
    tokens, size = task.cost.tokens(job.stage, job.wildcards), parameters(config, job.model)
    if not size or tokens is None:
        return None
    threads = min(task.cost.resources(job.rule, job.stage).get("threads", 1), os.cpu_count() or 1)
    flops = FLOPS_PER_PARAMETER * size * tokens * job.work
    low, high = (start + flops / (rate * threads) for start, rate in zip(STARTUP, reversed(FLOPS), strict=True))
    return [math.sqrt(low * high), low, high]


def parameters(config: dict, model: str) -> float | None:
    """Return a model's approximate number of parameters, from the config or its files' sizes; None: unknown."""
    entry = config["models"][model]
    manifest, source = f"{config['pathvars']['resources']}/models/{model}.manifest.json", entry["source"]
    size = downloads.manifest_bytes(manifest) or entry.get("gigabytes", 0) * 1e9
    if not size and source["kind"] == "local":
        folder = local_files.path_of(source, config["local_root"])
        size = sum(path.stat().st_size for path in folder.glob("**/*.safetensors"))
    return entry.get("parameters") or size / FLOAT32 or None
