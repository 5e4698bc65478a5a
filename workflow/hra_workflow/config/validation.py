"""Validation of the config: a clear message about every error of a stage, with its key."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path

from hra_workflow import methods, tasks
from hra_workflow.config import positions, tuning_checks
from hra_workflow.config.method_checks import check_preset, check_type, check_variant
from hra_workflow.config.model import model_of
from hra_workflow.core import grid, tuning
from hra_workflow.core.errors import JobError, expect, one_of
from hra_workflow.core.grid import HELD_OUT, averages, kind_of, preset, run_keys
from hra_workflow.keys import problems
from hra_workflow.tasks import columns, outputs, training, tuned_runs
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.training import REQUIRED


def check(config: dict, files: Sequence[Path] = ()) -> None:
    """Raise JobError for what is wrong in the config, with its keys; `files`: the user's, whose lines it names.

    Checks of one stage need that those before have passed: the types of all values, what the entries refer to, tasks.
    """
    stages = (check_types, check_entries, check_references, check_tasks)
    for stage in stages:
        if found := list(stage(config)):
            raise JobError("\n".join(f"{one}{positions.of(one, config, files)}" for one in found))


def check_types(config: dict) -> Iterator[str]:
    """Yield what the models of the keys do not accept."""
    return (f"config: {problem}" for problem in problems.find(model_of(config), config))


def check_entries(config: dict) -> Iterator[str]:
    """Yield what is wrong in a folder, a method, or a run of a grid."""
    yield from raised(check_folders, config["pathvars"])
    yield from raised(expect, config["tasks"], "config: tasks: expected a task, found none. Add one")
    for name, method in config["methods"].items():
        wrong = list(raised(check_type, f"config: methods.{name}", method))
        yield from wrong
        for variant, entry in method["variants"].items() if not wrong else ():
            yield from raised(check_variant, f"config: methods.{name}.variants.{variant}", method, entry)
    for name, settings in config["tasks"].items():
        for index, block in enumerate(settings["grid"]):
            for run in block["runs"]:
                place = f"config: tasks.{name}.grid[{index}].runs"
                yield from raised(one_of, place, "run", run, grid.every_run(config))


def check_references(config: dict) -> Iterator[str]:
    """Yield what is wrong in a preset or a dataset."""
    known = tasks.load(config)
    for name, presets in config["presets"].items():
        for preset_name, entry in presets.items():
            place = f"config: presets.{name}.{preset_name}"
            yield from raised(check_preset, place, entry, config["methods"], known[name].datasets)
    for task in known.values():
        for name in task.datasets:
            yield from raised(task.check_entry, f"config: datasets.{task.name}.{name}", name)


def check_tasks(config: dict) -> Iterator[str]:
    """Yield the first thing that is wrong in the settings of each task."""
    known = tasks.load(config)
    for name in config["tasks"]:
        yield from raised(check_settings, known[name])


def raised(check: Callable, *arguments) -> Iterator[str]:
    """Yield the text of the JobError that a check raises."""
    try:
        check(*arguments)
    except JobError as problem:
        yield str(problem)


def check_settings(task: Task) -> None:
    task.check_settings()
    check_task(task)
    task.check_runs()
    columns.check(task)
    tuning_checks.check(task, check_hyperparameters)


def check_task(task: Task) -> None:
    """Raise JobError if the grid, the columns or the figures of a task refer to something that does not exist."""
    config, entry = task.config, task.settings
    datasets = {name: task.entry(name) for name in task.datasets}
    place = f"config: tasks.{task.name}"
    expect(
        entry.get("selection") != HELD_OUT or "held_out" in entry,
        f"{place}: selection: {HELD_OUT} needs `held_out: {{share: 0.1}}`, the fraction of the training rows",
    )
    one_of(f"{place}.model", "model", entry["model"], config["models"])
    if isinstance(entry["preset"], dict):
        for name in entry["preset"]:
            one_of(f"{place}.preset", "method or variant", name, run_keys(config))
    for index, block in enumerate(entry["grid"]):
        for run in block["runs"]:
            method, variant = run.split("/")
            expect(
                methods.get(config, method).runs(task.name),
                f"{place}.grid[{index}]: {run}: expected a kind that {task.name} can run "
                f"({', '.join(methods.kinds_of(task.name))}), found {kind_of(config['methods'][method])}. "
                "Remove the run from the grid",
            )
            if targets := config["methods"][method]["variants"][variant].get("targets"):
                one_of(f"{place}: {run}: targets", "list", targets, config["models"][entry["model"]]["targets"])
            one_of(f"{place}: {run}", "preset", preset(config, task.name, run), config["presets"].get(task.name, {}))
        for name in block["datasets"]:
            trainable = [other for other, found in datasets.items() if "benchmarks" in found]
            one_of(f"{place}.grid[{index}]", "dataset", name, trainable)
            for run in block["runs"]:
                check_hyperparameters(task, name, run)
    for column in entry["columns"]:
        where = f"{place}.columns: {column['name']}"
        for name in [column["dataset"]] if "dataset" in column else {run["dataset"] for run in task.runs()}:
            one_of(where, "dataset", name, datasets)
            metrics = columns.metrics(task, name)
            one_of(where, "benchmark", column["benchmark"], metrics)
            one_of(where, "metric", column["metric"], metrics[column["benchmark"]])
    check_gpus(task)
    names = [column["name"] for column in entry["columns"]]
    for average in entry.get("averages", []):
        for name in average["columns"]:
            one_of(f"{place}.averages: {average['name']}", "column", name, names)
    check_published(task, names)
    if entry.get("reference"):
        one_of(f"{place}.reference", "run of the grid", entry["reference"], grid.run_names(config, task.name))
    for name in entry["figures"]["parameters"]:
        one_of(f"{place}.figures.parameters", "column", name, [*names, *averages(config, task.name)])
    for name in entry["figures"]["lambda"]:
        one_of(f"{place}.figures.lambda", "column", name, names)


def check_published(task: Task, names: list[str]) -> None:
    """Raise JobError if the source of the published numbers, or a column of its noise, does not exist."""
    place = f"config: tasks.{task.name}.published"
    if source := outputs.published(task):
        path = outputs.published_file(task, task.name)
        expect(path.is_file(), f"{place}.file: expected a CSV file, found no {path}. Correct the path")
        for name in source["noise"]:
            one_of(f"{place}.noise", "column", name, names)


def check_gpus(task: Task) -> None:
    """Raise JobError if runs that need several GPUs share one, or if a method with its own number is unknown."""
    place, stated = f"config: tasks.{task.name}", task.settings["resources"]
    parts = {name: part for name, part in task.settings.items() if isinstance(part, dict) and "resources" in part}
    for stage, part in parts.items():
        for name in ("runs_per_gpu", "max_gpu"):
            expect(name not in part["resources"], f"{place}.{stage}.resources: {name} is of training only. Remove it")
    shared, gpu = stated.get("runs_per_gpu", 1), stated.get("gpu", 1)
    of_runs = {"max_gpu": stated.get("max_gpu", {}), "runs_per_gpu": shared if isinstance(shared, dict) else {}}
    for key, by_run in of_runs.items():
        for name in by_run.keys() - {"default"}:
            one_of(f"{place}.resources.{key}", "method or variant", name, run_keys(task.config))
    shared = max(shared.values(), default=1) if isinstance(shared, dict) else shared
    expect(
        shared == 1 or gpu <= 1,
        f"{place}.resources: expected gpu: 1 with runs_per_gpu: {shared}, found gpu: {gpu}. Set one of them to 1",
    )


def check_hyperparameters(task: Task, dataset: str, run: str) -> None:
    """Raise JobError if a run lacks a hyper-parameter, or its batch size is not divisible."""
    tried = tuning.search(task.settings["tune"], run) if tuned_runs.is_tuned(task, run) else {}
    values = {key: values[0] for key, values in tried.items()} | task.hyperparameters(dataset, run)
    place = f"config: tasks.{task.name}: {run} on {dataset}, preset {preset(task.config, task.name, run)}"
    for wanted in (*REQUIRED, *task.required):
        keys = [wanted] if isinstance(wanted, str) else list(wanted)
        given = [key for key in keys if key in values]
        expect(
            given,
            f"{place}: {' or '.join(keys)} is missing: neither tasks.{task.name}.defaults nor the preset gives it",
        )
        listed = ", ".join(f"{key} {values[key]}" for key in given)
        expect(
            len(given) == 1,
            f"{place}: expected one of {' and '.join(keys)}, found both ({listed}). Remove one of them from "
            f"tasks.{task.name}.defaults and the preset",
        )
    expect(
        task.head_rate or "head_learning_rate" not in values,
        f"{place}: head_learning_rate is for classifiers (glue), of which the head is trained. Remove it",
    )
    expect(
        values.get("shuffle", True) or values.get("group_by_length", False) not in (True, "shuffled"),
        f"{place}: group_by_length {values.get('group_by_length')} needs rows in random order, and shuffle is false. "
        "Set group_by_length to false, or to a number: micro-batches that are sorted by length together",
    )
    parts = values["gradient_accumulation"] * max(1, training.resources(task, run)["gpu"])
    expect(
        values["batch_size"] % parts == 0,
        f"{place}: batch_size {values['batch_size']} is not a multiple of gpu × gradient_accumulation = {parts}",
    )


def check_folders(folders: Mapping[str, str]) -> None:
    """Raise JobError if two folders are the same or nested, also through links, or if scratch contains results.

    A job deletes the checkpoints of the runs that it reads there, and `hra-workflow smoke` deletes folders of all runs.
    """
    real = {name: Path(os.path.realpath(folder)) for name, folder in folders.items()}
    for inner, outer in permutations(real, 2):
        expect(
            not real[inner].is_relative_to(real[outer]),
            f"config: pathvars.{inner}: expected a folder apart from {outer}, found {folders[inner]}, which is "
            f"{'the same' if real[inner] == real[outer] else 'within it'} ({real[outer]}). Choose another folder",
        )
    found = sorted(path.name for path in real["scratch"].glob("runs_*.csv"))
    expect(
        not found,
        f"config: pathvars.scratch: expected a folder for training checkpoints, found results in {folders['scratch']}: "
        f"{', '.join(found)}. Finished runs would delete them. Choose another folder",
    )
