"""The tuned runs of a task, and their trials."""

from collections.abc import Mapping
from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import files, grid, tuning
from hra_workflow.core.grid import run_name
from hra_workflow.tasks.base import Task


def is_tuned(task: Task, run: str) -> bool:
    """Return whether trials choose hyper-parameters of `method/variant`."""
    covered = tuning.is_tuned(task.settings.get("tune"), run)
    return covered and methods.trains(task.config, run) and tuning.MARK not in run


def halved(task: Task) -> bool:
    """Return whether only the best trials are trained to the end."""
    return len(tuning.rungs(task.settings.get("tune") or {})) > 1


def choice(task: Task, wildcards) -> str | list:
    """Return the file with the chosen values of a training job; [] if it is not tuned."""
    run = run_name(wildcards)
    return grid.choice_file(task.config, task.name, wildcards.dataset, run) if is_tuned(task, run) else []


def trials(task: Task, dataset: str, run: str) -> list[dict]:
    """List the trials of `method/variant` on a dataset, one per seed: names, `values`, and the path of its `record`.

    With successive halving, there is one per rung and seed, with its `rung`; at a later rung only those that have been
    promoted to it, as far as this is known.
    """
    tune, path_of_run = task.settings["tune"], grid.paths(task.config)["run"]
    method, variant = run.split("/")
    names = {"dataset": dataset, "method": method}
    values, rungs, seeds = tuning.trials(tune, run), tuning.rungs(tune), tuning.seeds(tune)

    def entry(trial: str, rung: float, seed: int) -> dict:
        folder = path_of_run.format(task=task.name, variant=tuning.up_to(trial, rung), seed=seed, **names)
        own = {"variant": variant, "trial": trial, "seed": seed, "values": values[f"{method}/{trial}"]}
        return names | own | {"record": f"{folder}/train.json"} | ({"rung": rung} if len(rungs) > 1 else {})

    going_on, entries = [name.split("/")[1] for name in values], []
    for rung in rungs:
        entries += [entry(trial, rung, seed) for trial in going_on for seed in seeds]
        path = Path(grid.promotion_file(task.config, task.name, dataset, run, rung))
        promoted = files.read_json(path)["trials"] if rung < tuning.END and path.exists() else []
        going_on = [trial for trial in going_on if trial in promoted]
    return entries


def at(task: Task, dataset: str, run: str, rung: float) -> list[dict]:
    """List the trials that are compared at a rung."""
    return [trial for trial in trials(task, dataset, run) if trial["rung"] == rung]


def checkpoints_of(task: Task, trials: list[dict]) -> dict[str, list[str]]:
    """Return the folders of the training checkpoints of trials, by trial."""
    scratch, folders = grid.paths(task.config)["scratch"], {}
    for trial in trials:
        folder = scratch.format(task=task.name, **trial | {"variant": trial["trial"]})
        folders.setdefault(trial["trial"], []).append(folder)
    return folders


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
            for key, value in task.training.relevant_hyperparameters(dataset, run).items()
            if key not in searched and not isinstance(value, dict)
        }
        trials = tune["trials"] * len(tuning.seeds(tune)) if tune else 0
        found[dataset][run] = {"preset": task.training.preset(run), "trials": trials, "settings": settings}
    return found


def choices(task: Task, incomplete: bool = False) -> list[str]:
    """List the files with the chosen values of all tuned runs; with `incomplete`, those that exist."""
    paths = [grid.choice_file(task.config, task.name, names["dataset"], run_name(names)) for names in tuned(task)]
    return [path for path in paths if Path(path).exists()] if incomplete else paths


# Used by rules/tune.smk. `checkpoints`: Snakemake's; `promote.get` makes it finish a rung before the next call.


def records_at(task: Task, names: Mapping[str, str], rung: float, checkpoints) -> list[str]:
    """List the records of the trials that are compared at a rung of successive halving."""
    missing = finish_before(task, names, rung, checkpoints)
    return missing + [trial["record"] for trial in at(task, names["dataset"], run_name(names), rung)]


def records(task: Task, names: Mapping[str, str], checkpoints) -> list[str]:
    """List the records of all trials of a run on a dataset."""
    missing = finish_before(task, names, tuning.END, checkpoints)
    return missing + [trial["record"] for trial in trials(task, names["dataset"], run_name(names))]


def all_records(task: Task, checkpoints, incomplete: bool) -> list[str]:
    """List the records of all trials of the task; with `incomplete`, those that exist."""
    if incomplete:
        return [trial["record"] for trial in all_trials(task) if Path(trial["record"]).exists()]
    return [path for names in tuned(task) for path in records(task, names, checkpoints)]


def finish_before(task: Task, names: Mapping[str, str], rung: float, checkpoints) -> list[str]:
    """Make Snakemake finish the rung before a rung, or return the list of its best trials if it does not exist yet.

    The list is a new input, so the job runs again. A job that only waits for a checkpoint runs again if its inputs or
    params have changed. Snakemake compares these when all are known: never, if nothing makes the checkpoint run.
    """
    before = tuning.rung_before(task.settings["tune"], rung)
    if not before:
        return []
    promoted = grid.promotion_file(task.config, task.name, names["dataset"], run_name(names), before)
    if not Path(promoted).exists():
        return [promoted]
    keys = ("task", "dataset", "method", "variant")
    checkpoints.promote.get(**{key: names[key] for key in keys}, rung=f"{before:g}")
    return []
