"""The runs that a table expects, the required contents of their records, and the error files of their jobs."""

from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import grid, tuning
from hra_workflow.tasks import tuned_runs
from hra_workflow.tasks.base import Task


def expected_runs(task: Task) -> list[dict]:
    """List the runs as the config specifies them, with the names of their benchmarks."""
    return [run | expected_settings(task, run) | {"benchmarks": task.evaluation.benchmarks(run)} for run in task.runs()]


def error_files(task: Task) -> list[dict]:
    """List the error files of the same runs: `errors` up to training, and those of each of the `benchmarks`.

    Their paths depend on the scratch folder and the number of shards.
    """
    return [errors_of_run(task, run) for run in task.runs()]


def errors_of_run(task: Task, run: dict) -> dict:
    """Return the error files of a run, in the order of the workflow."""
    paths, benchmarks = grid.paths(task.config), task.evaluation.benchmarks(run)
    scratch, start = (Path(paths[name].format(task=task.name, **run)) for name in ("scratch", "start_scratch"))
    jobs = [str(start / "augment.error.json"), str(scratch / "train.error.json")]
    return {
        "errors": [*task.training.errors_before(run), *jobs],
        "benchmarks": {name: errors_of_evaluation(task, scratch, run | {"benchmark": name}) for name in benchmarks},
    }


def with_errors(expected: list[dict], errors: list[dict]) -> list[dict]:
    """Add the error files to the runs."""
    return [run | files for run, files in zip(expected, errors, strict=True)]


def expected_settings(task: Task, run: dict) -> dict:
    """Return what the config specifies of a run or a trial, with which finished_run.list_differences compares a record.

    asked: its part of the fingerprint of the training, without names, settings that do not change results, values that
    trials choose, and the training settings of a run that trains nothing. chosen: the file with the values that trials
    chose, for a tuned run. inputs: its manifests.
    """
    name = grid.run_name(run)
    method = grid.method(task.config, task.name, run["method"], run["variant"], run["dataset"])
    specified = {"method": method, "seed": run["seed"], "task_version": task.settings["version"]}
    tuned = tuned_runs.is_tuned(task, name)
    if methods.trains(task.config, name):
        searched = tuning.search(task.settings["tune"], name) if tuned else ()
        values = task.training.relevant_hyperparameters(run["dataset"], name)
        specified["hyperparameters"] = {key: value for key, value in values.items() if key not in searched}
    chosen = {"chosen": grid.choice_file(task.config, task.name, run["dataset"], name)} if tuned else {}
    return {"asked": specified, "inputs": task.training.inputs(run["dataset"])} | chosen


def expected_trials(task: Task, trials: list[dict]) -> list[dict]:
    """List the names and the expected settings of the runs of trials (tuned_runs.trials)."""
    names = ("dataset", "method", "seed")
    runs = [{name: trial[name] for name in names} | {"variant": trial["trial"]} for trial in trials]
    return [{"task": task.name} | run | expected_settings(task, run) for run in runs]


def errors_of_evaluation(task: Task, folder: Path, evaluation: dict) -> list[str]:
    """List the error files of a benchmark's jobs below a run's scratch folder, in the order of the workflow."""
    benchmark, shards = evaluation["benchmark"], task.generation.shards(evaluation)
    generated = folder / task.generation.folder_of_shards(benchmark)
    paths = [generated / f"shard{shard}-of-{shards}" / "generate.error.json" for shard in range(shards)]
    return [str(path) for path in [*paths, folder / benchmark / "evaluate.error.json"]]


def evaluations(task: Task) -> list[dict]:
    """List the evaluations of a task's runs: a run with each `benchmark`."""
    return [run | {"benchmark": benchmark} for run in task.runs() for benchmark in task.evaluation.benchmarks(run)]


def compared(task: Task) -> list[dict]:
    """List the evaluations that a task's table is made from: those on the benchmarks of the runs' datasets."""
    return [
        evaluation
        for evaluation in evaluations(task)
        if evaluation["benchmark"] in task.data.entry(evaluation["dataset"])["benchmarks"]
    ]


def with_predictions(task: Task, folder: str, predictions: list[str]) -> list[dict]:
    """List the compared evaluations of a task whose predictions are among these files, each with its `path`.

    folder: the folder of an evaluation, with wildcards.
    """
    file = f"{folder}/predictions.jsonl.gz"
    evaluations = [evaluation | {"path": file.format(task=task.name, **evaluation)} for evaluation in compared(task)]
    return [evaluation for evaluation in evaluations if evaluation["path"] in set(predictions)]
