"""The runs that a table expects, the required contents of their records, and the error files of their jobs."""

from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import grid, made_from
from hra_workflow.tasks.base import Task


def expected_runs(task: Task, of_run: Callable, of_metrics: Callable) -> list[dict]:
    """List the runs of the grid, each with what its record and its metrics, by benchmark, are made from (made_from.py).

    of_run, of_metrics: functions of the task's name, the run and, for metrics, the benchmark.
    """
    return [
        run
        | {"record": of_run(task.name, run)}
        | {"metrics": {name: of_metrics(task.name, run, name) for name in task.benchmarks(run)}}
        for run in task.runs()
    ]


def error_files(task: Task) -> list[dict]:
    """List the error files of the same runs: `errors` up to training, and those of each of the `benchmarks`.

    Their paths depend on the scratch folder and the number of shards.
    """
    return [errors_of_run(task, run) for run in task.runs()]


def errors_of_run(task: Task, run: dict) -> dict:
    """Return the error files of a run, in the order of the workflow."""
    paths, benchmarks = grid.paths(task.config), task.benchmarks(run)
    scratch, start = (Path(paths[name].format(task=task.name, **run)) for name in ("scratch", "start_scratch"))
    top = task.config["pathvars"]["scratch"]
    jobs = [str(start / "augment.error.json"), str(scratch / "train.error.json")]
    return {
        "errors": [*(str(Path(top, name)) for name in task.errors_before(run)), *jobs],
        "benchmarks": {name: errors_of_evaluation(task, scratch, run | {"benchmark": name}) for name in benchmarks},
    }


def with_errors(runs: list[dict], errors: list[dict]) -> list[dict]:
    """Add the error files to the runs."""
    return [run | files for run, files in zip(runs, errors, strict=True)]


def digests(expected: list[dict]) -> list:
    """Return the names of the runs, and the digests of what their results are made from."""

    def one(run: dict) -> list:
        names = {name: value for name, value in run.items() if name not in ("record", "metrics")}
        metrics = {name: made_from.digest_of(made) for name, made in run["metrics"].items()}
        return [names, made_from.digest_of(run["record"]), metrics]

    return list(map(one, expected))


def errors_of_evaluation(task: Task, folder: Path, evaluation: dict) -> list[str]:
    """List the error files of a benchmark's jobs below a run's scratch folder, in the order of the workflow."""
    benchmark, shards = evaluation["benchmark"], task.shards(evaluation)
    generated = folder / task.folder_of_shards(benchmark)
    paths = [generated / f"shard{shard}-of-{shards}" / "generate.error.json" for shard in range(shards)]
    return [str(path) for path in [*paths, folder / benchmark / "evaluate.error.json"]]


def all_benchmarks(task: Task) -> set[str]:
    """Return the benchmarks of all datasets and runs."""
    names = {name for dataset in task.datasets for name in task.entry(dataset).get("benchmarks", {})}
    return names | {name for run in task.runs() for name in task.benchmarks(run)}


def evaluations(task: Task) -> list[dict]:
    """List the evaluations of a task's runs: a run with each `benchmark`."""
    return [run | {"benchmark": benchmark} for run in task.runs() for benchmark in task.benchmarks(run)]


def compared(task: Task) -> list[dict]:
    """List the evaluations that a task's table is made from: those on the benchmarks of the runs' datasets."""
    return [
        evaluation
        for evaluation in evaluations(task)
        if evaluation["benchmark"] in task.entry(evaluation["dataset"])["benchmarks"]
    ]


def with_predictions(task: Task, folder: str, predictions: list[str]) -> list[dict]:
    """List the compared evaluations of a task whose predictions are among these files, each with its `path`.

    folder: the folder of an evaluation, with wildcards.
    """
    file = f"{folder}/predictions.jsonl.gz"
    evaluations = [evaluation | {"path": file.format(task=task.name, **evaluation)} for evaluation in compared(task)]
    return [evaluation for evaluation in evaluations if evaluation["path"] in set(predictions)]
