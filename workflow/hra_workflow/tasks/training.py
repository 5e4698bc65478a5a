"""The hyper-parameters and the resources of training runs, equal for all tasks."""

from hra_workflow import methods
from hra_workflow.core import grid

REQUIRED = (
    "learning_rate",
    "schedule",
    "warmup_steps",
    "batch_size",
    "gradient_accumulation",
    "weight_decay",
    "max_grad_norm",
    "adam_epsilon",
    "precision",
)
LENGTH = ("epochs", "max_steps")  # a run has one of them
IDLE = {"gpu": 0, "threads": 1, "mem_mb": 4000, "runtime": 60}


def held_out_rows(total: int, hyperparameters: dict) -> int:
    """Return the approximate number of training rows that a run holds out."""
    limits = hyperparameters.get("held_out")
    return min(round(limits["share"] * total), limits.get("rows") or total) if limits else 0


def without_idle_limit(held_out: dict, total: int) -> dict:
    """Remove the limit `rows` of `held_out` if it does not change the split of `total` rows (data/held_out.py)."""
    limit = held_out.get("rows")
    is_idle = limit is None or limit / total >= held_out["share"]
    return {key: value for key, value in held_out.items() if key != "rows" or not is_idle}


def preset(task, run: str) -> str | None:
    """Return the name of the preset of `method/variant`; "none" for runs that train nothing."""
    return grid.preset(task.config, task.name, run) if methods.trains(task.config, run) else "none"


def resources(task, run: str) -> dict:
    """Return the resources of training `method/variant`: threads and memory in proportion to its GPUs.

    A run that trains nothing only checks its inputs, on one core.
    """
    full = task.settings["resources"]
    if not methods.trains(task.config, run):
        return full | {name: min(full[name], most) for name, most in IDLE.items()}
    gpus = min(full["gpu"], grid.value_for_run(full.get("max_gpu", {}), run) or full["gpu"])
    if gpus == full["gpu"]:
        return full
    return full | {name: -(-full[name] * gpus // full["gpu"]) for name in ("threads", "mem_mb")} | {"gpu": gpus}


def processes(task, run: str) -> int | None:
    """Return the number of processes of training `method/variant` if its results depend on it, else None."""
    depends = task.per_process and methods.trains(task.config, run)
    return max(1, resources(task, run)["gpu"]) if depends else None
