"""The work of a task's jobs: rows that jobs process, and how many jobs generate."""

import math

from hra_workflow.core import grid, made_from
from hra_workflow.tasks.datasets import rows
from hra_workflow.tasks.training import LENGTH, held_out_rows

SHARD_SECONDS = 2 * 3600  # seconds of generation per job, whose start takes a minute
# Hyper-parameters that change neither the memory of a step nor its time.
LEARNING = (
    *("learning_rate", "head_learning_rate", "schedule", "warmup_steps", "weight_decay", "max_grad_norm"),
    *("adam_epsilon", "classifier_dropout", "held_out", "eval_steps", "epoch_steps", *LENGTH),
)
FORWARD = 1 / 3  # fraction of a training step: the backward pass costs twice as much as the forward pass


def prediction_resources(task) -> dict:
    """Return the resources of predictions: those of generation, or of training if the task generates nothing."""
    resources = task.resources("predict_inputs", "generate")
    return resources | {"device": resources.get("device"), "gpu": min(1, resources["gpu"])}


def workload(task, run: str = "") -> str | None:
    """Return a digest of what the memory and the time of the jobs of `method/variant` depend on, except the card.

    run: empty for jobs that runs share. None: the config has no such run.
    """
    settings, (method, _, variant) = task.settings, run.partition("/")
    of_jobs = {
        name: {key: value for key, value in settings[name].items() if key != "resources"}
        for name in ("generation", "evaluation", "class_images")
        if settings.get(name)
    }
    found = [task.name, settings["model"], task.config["models"][settings["model"]], settings.get("resolution")]
    found += [of_jobs, settings["resources"]["gpu"]]
    if run:
        variants = task.config["methods"].get(method, {}).get("variants", {})
        if variant not in variants:
            return None
        found.append(variants[variant])
        for dataset in grid.datasets(task.config, task.name):
            values = task.hyperparameters(dataset, run)
            found.append({key: value for key, value in values.items() if key not in LEARNING})
    return made_from.digest(found)


def shards(task, number: int | str, wildcards: dict) -> int:
    """Return the number of jobs that generate a run's outputs.

    number: the config's; auto: jobs of SHARD_SECONDS each at the config's speed; 1 if work or speed is unknown.
    """
    if number != "auto":
        return number
    work = task.work("generate", wildcards | {"n_shards": 1})
    speed = task.settings["generation"]["resources"].get("rows_per_second")
    return max(1, math.ceil(work / speed / SHARD_SECONDS)) if work and speed else 1


def in_one_shard(task) -> bool:
    """Return whether one job generates all outputs of a run, so that they need not be merged."""
    return all(
        task.shards(run | {"benchmark": benchmark}) == 1
        for run in task.runs()
        for benchmark in task.entry(run["dataset"])["benchmarks"]
    )


def rows_of_job(task, stage: str, wildcards: dict) -> float | None:
    """Return the number of rows that pass a training step (forward and backward); None if unknown."""
    if wildcards.get("dataset") not in task.datasets:
        return None
    if stage == "train":
        return rows_of_training(task, wildcards)
    if stage not in ("generate", "evaluate"):
        return None
    items = items_of(task, wildcards["dataset"], wildcards.get("benchmark", ""))
    if items and stage == "generate":
        return items / int(wildcards["n_shards"])
    return items and items * FORWARD * len(task.selections)


def items_of(task, dataset: str, benchmark: str) -> int | None:
    """Return the number of rows of a benchmark of a dataset, if it is known."""
    entry = task.entry(dataset)
    if benchmark not in entry.get("benchmarks", {}):
        return None
    name, _, split = entry["benchmarks"][benchmark].rpartition("/")
    return rows(task.datasets[name] if name else entry, split)


def rows_of_training(task, wildcards: dict) -> float | None:
    """Return the rows of all steps and of the evaluations on dev in between."""
    entry = task.entry(wildcards["dataset"])
    values = task.hyperparameters(wildcards["dataset"], f"{wildcards['method']}/{wildcards['variant']}")
    total = rows(entry, "train") or 0
    held_out = held_out_rows(total, values)
    used = values.get("max_steps", 0) * values["batch_size"] or (total - held_out) * values.get("epochs", 0)
    if not used or not values.get("eval_steps"):
        return used or None
    dev = held_out or rows(entry, next(iter(entry["benchmarks"].values()))) or 0
    every = values["eval_steps"]
    return used + (1 / every if every < 1 else used / values["batch_size"] / every) * dev * FORWARD
