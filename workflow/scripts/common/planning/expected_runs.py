"""What the runs of a task are judged on, and the files in which a failure leaves its error.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from pathlib import Path

from common.core import grid
from common.tasks.control import task as controls
from common.tasks.subject import task as subjects


def dataset(config: dict, task: str, name: str) -> dict:
    """A dataset's entry; what is judged by a task's evaluators, subjects and control, has one benchmark."""
    entry = config["datasets"][task][name]
    if task not in ("subject", "control"):
        return entry
    if task == "control":
        benchmark, names = controls.BENCHMARK, controls.metrics(controls.evaluators(config, name))
    else:
        benchmark, names = subjects.BENCHMARK, subjects.metrics(config["tasks"][task]["evaluation"]["evaluators"])
    return entry | {"benchmarks": {benchmark: benchmark}, "metrics": names, "score": next(iter(names), None)}


def benchmarks(config: dict) -> list[str]:
    """Names of the benchmarks of all tasks."""
    found = {
        name
        for task, entries in config["datasets"].items()
        if task in config["tasks"]
        for entry in entries
        for name in dataset(config, task, entry).get("benchmarks", {})
    }
    return sorted(found)


def never_marked(config: dict, task: str) -> list[str]:
    """List the grid's training sets that are graded strictly, but whose solutions do not end in "The answer is: "."""
    if task != "math":
        return []
    entries = {name: dataset(config, task, name) for name in grid.datasets(config, task)}
    return [name for name, entry in entries.items() if entry["answer"] != "metamath" and "strict" in entry["metrics"]]


def vanished(config: dict, table: str, inputs: list[str]) -> list:
    """Return the inputs deleted since a table was made, and when that was; [] if none.

    Snakemake remakes a missing file only for a job that runs: as a param, a missing input makes the job run. The time
    sets a second deletion of the same file apart from the first, with which the table was recorded.
    """
    made = Path(config["pathvars"]["results"], f"{table}.csv")
    missing = [path for path in inputs if not Path(path).exists()] if made.exists() else []
    return [*missing, made.stat().st_mtime_ns] if missing else []


def expected_runs(config: dict, task: str, scratch: str, start_scratch: str) -> list[dict]:
    """The runs with what the run table needs: their benchmarks, and the files in which a failure leaves its error."""

    def expected(run: dict) -> dict:
        folder, start = (Path(pattern.format(task=task, **run)) for pattern in (scratch, start_scratch))
        benchmarks = dataset(config, task, run["dataset"])["benchmarks"]
        before = class_image_errors(config, run) if task == "subject" else []
        if task == "control":
            before = [str(Path(config["pathvars"]["scratch"], "hints", run["dataset"], "hints.error.json"))]
        return run | {
            "errors": [*before, str(start / "augment.error.json"), str(folder / "train.error.json")],
            "benchmarks": {name: errors_of(config["tasks"][task], folder / name) for name in benchmarks},
        }

    return [expected(run) for run in grid.runs(config, task)]


def class_image_errors(config: dict, run: dict) -> list[str]:
    """Where the class images that a run trains on leave their errors."""
    noun = subjects.class_images(config, run["dataset"], f"{run['method']}/{run['variant']}")
    shards = config["tasks"]["subject"]["class_images"]["shards"]
    folder = Path(config["pathvars"]["scratch"], "class_images", noun or "")
    return [str(folder / f"shard{shard}-of-{shards}" / "generate.error.json") for shard in range(shards * bool(noun))]


def errors_of(entry: dict, folder: Path) -> list[str]:
    """Where a benchmark's jobs leave their errors, in the order of the chain."""
    shards = entry.get("generation", {}).get("shards", 0)
    paths = [folder / f"shard{shard}-of-{shards}" / "generate.error.json" for shard in range(shards)]
    return [str(path) for path in [*paths, folder / "evaluate.error.json"]]
