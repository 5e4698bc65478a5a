"""The runs that a table expects, what their records must say, and the error files of their jobs.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from pathlib import Path

from hra_workflow.core import fingerprints, grid, tuning
from hra_workflow.tasks import tuned_runs
from hra_workflow.tasks.base import Task


def expected_runs(task: Task) -> list[dict]:
    """List the runs as the config asks for them, with the names of their benchmarks."""
    return [run | asked(task, run) | {"benchmarks": task.evaluated(run)} for run in task.runs()]


def asked_of(task: Task, runs: list[dict], file: str) -> dict[str, dict]:
    """Return what `asked` says of each run, by the path of a file of the run."""
    return {file.format(task=task.name, **run): asked(task, run) for run in runs}


def error_files(task: Task) -> list[dict]:
    """List the error files of the same runs: `errors` of training and before, and of each of its `benchmarks`.

    They move with the scratch folder and the number of shards.
    """
    places = grid.places(task.config)

    def of(run: dict) -> dict:
        folder, start = (Path(places[name].format(task=task.name, **run)) for name in ("scratch", "start_scratch"))
        return {
            "errors": [*task.errors_before(run), str(start / "augment.error.json"), str(folder / "train.error.json")],
            "benchmarks": {name: errors_of(task, folder, run | {"benchmark": name}) for name in task.evaluated(run)},
        }

    return [of(run) for run in task.runs()]


def with_errors(expected: list[dict], errors: list[dict]) -> list[dict]:
    """Add the error files to the runs."""
    return [run | files for run, files in zip(expected, errors, strict=True)]


def asked(task: Task, run: dict) -> dict:
    """Return `asked`, what the config asks for in the fingerprint of a run's training, and `inputs`, its manifests.

    Names and what changes no result are left out, and the values that trials choose, which are in tune_{task}.csv. What
    a run that trains nothing would be trained with does not matter.
    """
    name = f"{run['method']}/{run['variant']}"
    method = grid.method(task.config, task.name, run["method"], run["variant"], run["dataset"])
    found = {"method": method, "seed": run["seed"], "task_version": task.settings["version"]}
    if task.trains(name):
        chosen = tuning.search(task.settings["tune"], name) if tuned_runs.is_tuned(task, name) else ()
        settings, unnamed = task.training_settings(run["dataset"], name), {*fingerprints.NEUTRAL_ENTRIES, *chosen}
        found["hyperparameters"] = {key: value for key, value in settings.items() if key not in unnamed}
    return {"asked": found, "inputs": task.training_inputs(run["dataset"])}


def errors_of(task: Task, folder: Path, evaluated: dict) -> list[str]:
    """List the error files of a benchmark's jobs below a run's scratch folder, in the order of the workflow."""
    benchmark, shards = evaluated["benchmark"], task.shards(evaluated)
    generated = folder / task.folder_of_shards(benchmark)
    paths = [generated / f"shard{shard}-of-{shards}" / "generate.error.json" for shard in range(shards)]
    return [str(path) for path in [*paths, folder / benchmark / "evaluate.error.json"]]


def evaluations(task: Task) -> list[dict]:
    """List what the runs of a task are evaluated on: a run with each `benchmark`."""
    return [run | {"benchmark": benchmark} for run in task.runs() for benchmark in task.evaluated(run)]


def vanished(config: dict, table: str, inputs: list[str]) -> list:
    """Return the inputs deleted since a table was built, and the time it was built; [] if none.

    Snakemake recreates a missing file only for a job that runs; as a param, a missing input makes the job run. The time
    distinguishes a second deletion of the same file from the first, with which the table was recorded.
    """
    made = Path(config["pathvars"]["results"], f"{table}.csv")
    missing = [path for path in inputs if not Path(path).exists()] if made.exists() else []
    return [*missing, made.stat().st_mtime_ns] if missing else []


def compared(task: Task) -> list[dict]:
    """List the evaluations that a task's table is made from: those on the benchmarks of the runs' datasets."""
    return [one for one in evaluations(task) if one["benchmark"] in task.dataset(one["dataset"])["benchmarks"]]


def of_predictions(task: Task, folder: str, predictions: list[str]) -> list[dict]:
    """List the compared evaluations of a task whose predictions are among these files, each with its `path`.

    folder: that of an evaluation, with wildcards.
    """
    found = compared(task)
    placed = [one | {"path": f"{folder}/predictions.jsonl.gz".format(task=task.name, **one)} for one in found]
    return [one for one in placed if one["path"] in set(predictions)]
