"""The tuned runs of a task, and their trials."""

from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import grid, tuning
from hra_workflow.core.grid import run_name
from hra_workflow.tasks import training
from hra_workflow.tasks.base import Task


def is_tuned(task: Task, run: str) -> bool:
    """Return whether trials choose hyper-parameters of `method/variant`."""
    covered = tuning.is_tuned(task.settings.get("tune"), run)
    return covered and methods.trains(task.config, run) and tuning.MARK not in run


def choice(task: Task, wildcards) -> str | list:
    """Return the file with the chosen values of a training job; [] if it is not tuned."""
    run = run_name(wildcards)
    return grid.choice_file(task.config, task.name, wildcards.dataset, run) if is_tuned(task, run) else []


def hyperparameters_without_choice(task: Task, wildcards) -> dict:
    """Return the hyper-parameters that a training job depends on, without those that trials choose."""
    run = run_name(wildcards)
    values = task.relevant_hyperparameters(wildcards.dataset, run)
    searched = tuning.search(task.settings["tune"], run) if is_tuned(task, run) else ()
    return {key: value for key, value in values.items() if key not in searched}


def trials(task: Task, dataset: str, run: str) -> list[dict]:
    """List the trials of `method/variant` on a dataset: names, `values`, and the path of its `record`."""
    tune, path_of_run = task.settings["tune"], grid.paths(task.config)["run"]
    method, variant = run.split("/")
    names, entries = {"dataset": dataset, "method": method}, []
    for name, values in tuning.trials(tune, run).items():
        trial = name.split("/")[1]
        folder = path_of_run.format(task=task.name, variant=trial, seed=tuning.SEED, **names)
        own = {"variant": variant, "trial": trial, "seed": tuning.SEED, "values": values}
        entries.append(names | own | {"record": f"{folder}/train.json"})
    return entries


def all_trials(task: Task) -> list[dict]:
    """List the trials of all tuned runs of the grid, in config order."""
    return [trial for names in tuned(task) for trial in trials(task, names["dataset"], run_name(names))]


def tuned(task: Task) -> list[dict]:
    """List the tuned runs of the grid on their datasets, without seeds, by the names of their wildcards."""
    keys = ("dataset", "method", "variant")
    unique = dict.fromkeys(tuple(run[key] for key in keys) for run in task.runs())
    named = [{"task": task.name} | dict(zip(keys, values, strict=True)) for values in unique]
    return [names for names in named if is_tuned(task, run_name(names))]


def searches(task: Task) -> dict[str, dict[str, dict]]:
    """Return the origin of every trained run's hyper-parameters, by dataset and `method/variant`.

    preset: its name. trials: the number of trials that chose the values; 0: there were none. settings: the values that
    they did not choose, except entries for one kind of method, and the division of a batch, which only changes
    rounding.
    """
    found: dict[str, dict[str, dict]] = {}
    for one in task.runs():
        run, dataset = run_name(one), one["dataset"]
        if not methods.trains(task.config, run) or run in found.setdefault(dataset, {}):
            continue
        tune = task.settings["tune"] if is_tuned(task, run) else None
        searched = {"gradient_accumulation", *(tuning.search(tune, run) if tune else ())}
        settings = {
            key: value
            for key, value in task.relevant_hyperparameters(dataset, run).items()
            if key not in searched and not isinstance(value, dict)
        }
        trials = tune["trials"] if tune else 0
        found[dataset][run] = {"preset": training.preset(task, run), "trials": trials, "settings": settings}
    return found


def choices(task: Task, incomplete: bool = False) -> list[str]:
    """List the files with the chosen values of all tuned runs; with `incomplete`, those that exist."""
    paths = [grid.choice_file(task.config, task.name, names["dataset"], run_name(names)) for names in tuned(task)]
    return [path for path in paths if Path(path).exists()] if incomplete else paths


def records(task: Task, incomplete: bool = False) -> list[str]:
    """List the records of all trials of the task; with `incomplete`, those that exist."""
    paths = [trial["record"] for trial in all_trials(task)]
    return [path for path in paths if Path(path).exists()] if incomplete else paths
