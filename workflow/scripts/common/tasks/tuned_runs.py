"""The tuned runs of a task, and their trials.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from common.core import grid, tuning
from common.tasks.base import Task


def is_tuned(task: Task, run: str) -> bool:
    """Return whether trials choose hyper-parameters of `method/variant`."""
    return bool(task.settings.get("tune")) and task.trains(run) and tuning.MARK not in run


def choice(task: Task, wildcards) -> str | list:
    """Return the file with the chosen values of a training job; [] if none are."""
    run = f"{wildcards.method}/{wildcards.variant}"
    return grid.choice(task.config, task.name, wildcards.dataset, run) if is_tuned(task, run) else []


def trials(task: Task, dataset: str, run: str) -> list[dict]:
    """List the trials of `method/variant` on a dataset, one per seed: names, `values`, and the path of its `record`."""
    tune, folder = task.settings["tune"], grid.places(task.config)["run"]
    method, variant = run.split("/")
    names = {"dataset": dataset, "method": method}

    def one(trial: str, values: dict, seed: int) -> dict:
        place = folder.format(task=task.name, variant=trial, seed=seed, **names)
        own = {"variant": variant, "trial": trial, "seed": seed, "values": values}
        return names | own | {"record": f"{place}/train.json"}

    found, seeds = tuning.trials(tune, run).items(), range(tune.get("seeds", 1))
    return [one(trial.split("/")[1], values, seed) for trial, values in found for seed in seeds]


def every_trial(task: Task) -> list[dict]:
    """List the trials of all tuned runs of the grid, in config order."""
    pairs = dict.fromkeys((one["dataset"], f"{one['method']}/{one['variant']}") for one in task.runs())
    return [one for dataset, run in pairs if is_tuned(task, run) for one in trials(task, dataset, run)]
