"""What Snakemake's resources cannot express: several runs on one GPU."""

from hra_workflow import methods
from hra_workflow.core.gpus import PARTS


def jobs_per_gpu(config: dict, wildcards, attempt: int) -> int:
    """Return how many runs share the GPU of a training job.

    A retry has a GPU of its own, in case the runs did not fit on one, and so has what `make preflight` measures.
    """
    stated = config["tasks"][wildcards.task]["resources"]
    shares = attempt == 1 and config["preflight"] != "jobs" and methods.of(config, wildcards.method).trains
    return stated.get("runs_per_gpu", 1) if shares and stated["gpu"] else 1


def priority(runs: list[dict], wildcards) -> int:
    """Return the priority of a training job, in the order of the grid: seeds, which share GPUs, come together."""
    run = {name: wildcards[name] for name in ("dataset", "method", "variant")} | {"seed": int(wildcards.seed)}
    return len(runs) - runs.index(run) if run in runs else 0


def shared_gpus(workflow) -> None:
    """Where the GPUs are limited (`--resources gpu=N`), count parts of GPUs, so that runs can share one.

    Snakemake's limit is the sum over running jobs, of whole numbers; `gpu` itself becomes a limit per job.
    """
    limit = workflow.global_resources.get("gpu")
    if limit.value is None:
        return
    if counted := workflow.global_resources.get("gpu_parts").value:  # a module is read again by each `use rule`
        limit = type(limit)("gpu", counted // PARTS)
    for name in ("gpu", "gpu_parts"):
        workflow.global_resources[name] = limit.value * PARTS
    for rule in workflow.rules:
        if "gpu" in rule.resources and "gpu_parts" not in rule.resources:
            gpu, runs = rule.resources["gpu"], rule.resources.get("jobs_per_gpu")
            rule.resources["gpu"] = at_most(limit, gpu)
            rule.resources["gpu_parts"] = parts(rule.resources["gpu"], runs)


def at_most(limit, gpu):
    """Return the number of GPUs, which the limit lowers, as a function of the job."""
    return lambda wildcards, **job: gpu.evaluate(wildcards, **job).constrain(limit).value


def parts(gpu, runs):
    """Return the parts of GPUs that one of `runs` runs takes, as a function of the job."""

    def value(wildcards, **job):
        share = runs.evaluate(wildcards, **job).value or 1
        return gpu.evaluate(wildcards, **job).value * PARTS // share

    return value
