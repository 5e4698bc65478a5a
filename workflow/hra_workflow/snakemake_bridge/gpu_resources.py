"""Several runs on one GPU, counted by a plain resource.

Snakemake's limits are sums of whole numbers over the running jobs, so a machine's limit is `gpu_percent` (profiles/
gpu-server): 100 per GPU, of which each of four runs on one takes 25. `gpu` is the number of GPUs that a job sees.
"""

from collections.abc import Callable, Iterable
from functools import cache

from hra_workflow import methods, tasks
from hra_workflow.core import grid
from hra_workflow.cost import estimates
from hra_workflow.cost.planned_jobs import Job

PERCENT = "gpu_percent"


def on_gpus(gpu: Callable, jobs_per_gpu: Callable | None = None) -> dict[str, Callable]:
    """Return the resources of a job on GPUs, from functions of the wildcards (`jobs_per_gpu`: also of the attempt)."""

    def percent(wildcards, attempt):
        return gpu(wildcards) * 100 // (jobs_per_gpu(wildcards, attempt) if jobs_per_gpu else 1)

    def lsf_option(wildcards):  # Snakemake's executor for LSF does not support `gpu`
        return f"-gpu num={gpu(wildcards)}" if gpu(wildcards) else None

    own = {"gpu": gpu, PERCENT: percent, "lsf_extra": lsf_option}
    return own | ({"jobs_per_gpu": jobs_per_gpu} if jobs_per_gpu else {})


def memory(config: dict, stage: str | None, task: str | None = None) -> Callable:
    """Return the resource `gpu_mem_mb`: the memory that a job needs on each GPU; 0 if no probe has found it.

    It is the most that a probe of its stage, task and kind of method needed, and a tenth more, since published
    measurements differ from estimates by up to that much.
    """

    def kind(wildcards) -> str | None:
        method = config["methods"].get(wildcards.get("method"))
        return method and grid.kind_of(method)

    @cache
    def peaks() -> dict[tuple, int]:
        found: dict[tuple, int] = {}
        for job in estimates.reported(config, tasks.load(config), "memory"):
            key = (job["rule"].partition("_")[0], job["wildcards"].get("task"), kind(job["wildcards"]))
            found[key] = max(found.get(key, 0), job["peak_bytes"])
        return found

    return lambda wildcards: round(1.1e-6 * peaks().get((stage, task or wildcards.get("task"), kind(wildcards)), 0))


def jobs_per_gpu(config: dict, wildcards, attempt: int) -> int:
    """Return how many runs share the GPU of a training job.

    A retry does not share its GPU, in case the runs did not fit on one, nor do the jobs of `hra-workflow smoke`.
    """
    stated = config["tasks"][wildcards.task]["resources"]
    shares = attempt == 1 and not config["preflight"] and methods.get(config, wildcards.method).trains
    return grid.runs_per_gpu(stated, grid.run_name(wildcards)) if shares and stated["gpu"] else 1


def priority(runs: list[dict], wildcards) -> int:
    """Return the priority of a training job, in the order of the grid, so seeds, which share GPUs, start together."""
    run = {name: wildcards[name] for name in ("dataset", "method", "variant")} | {"seed": int(wildcards.seed)}
    return len(runs) - runs.index(run) if run in runs else 0


def excess(workflow, jobs: Iterable[Job]) -> str | None:
    """Describe the remaining jobs that request more GPUs than the machine's limit."""
    limit = workflow.global_resources.get(PERCENT).value
    most = max((job.gpus for job in jobs if job.needed), default=0)
    if limit is None or most * 100 <= limit:
        return None
    return f"A job requests {most} GPUs, this machine has {limit // 100}: lower `gpu` under the task's `resources`"
