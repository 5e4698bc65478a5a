"""The hyper-parameters of every task."""

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


def held_out_rows(total: int, hyperparameters: dict) -> int:
    """Return the approximate number of training rows that a run holds out."""
    limits = hyperparameters.get("held_out")
    return min(round(limits["share"] * total), limits.get("rows") or total) if limits else 0


def without_idle_limits(held_out: dict, total: int) -> dict:
    """Remove the limits of `held_out` that do not change the split of `total` rows (data/held_out.py)."""
    fractions = {"rows": held_out["share"], "train_rows": 1}
    limits = {key: held_out[key] for key in fractions if key in held_out}
    idle = [key for key, most in limits.items() if most is None or most / total >= fractions[key]]
    return {key: value for key, value in held_out.items() if key not in idle}


def preset(task, run: str) -> str | None:
    """Return the name of the preset of `method/variant`; "none" for runs that train nothing."""
    return grid.preset(task.config, task.name, run) if methods.trains(task.config, run) else "none"
