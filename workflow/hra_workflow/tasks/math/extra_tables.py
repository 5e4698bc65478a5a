"""The further tables of mathematical reasoning: retention (Table 3) and compute (Table 6)."""

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.errors import expect, one_of
from hra_workflow.tasks import columns, training
from hra_workflow.tasks.base import Task


def rows(task: Task) -> dict[str, list[str]]:
    """Return the rows of each table that are in the grid: `method/variant`."""
    return {"retention": retention_rows(task), "compute": compute_rows(task)}


def check(task: Task) -> None:
    """Raise JobError for a run or a benchmark that does not exist, or rows that cannot be compared."""
    key = f"config: tasks.{task.name}"
    for table in ("retention", "compute"):
        for run in (task.settings.get(table) or {}).get("runs", []):  # rows that are not in the grid are skipped
            one_of(f"{key}.{table}.runs", "run", run, grid.every_run(task.config))
    check_compute(task, f"{key}.compute")
    if task.settings.get("retention"):
        check_retention(task, f"{key}.retention")


def harness_benchmarks(task: Task) -> dict[str, dict]:
    """Return the retention benchmarks to run, without those disabled by `unsafe_code: false`."""
    entries = task.settings["retention"]["benchmarks"]
    return {name: entry for name, entry in entries.items() if entry.get("unsafe_code") is not False}


def unsafe_benchmarks(task: Task) -> list[str]:
    """Return the retention benchmarks that `unsafe_code: false` disables, for the table."""
    return [name for name in task.settings["retention"]["benchmarks"] if name not in harness_benchmarks(task)]


def retention_runs(task: Task) -> list[dict]:
    """Return the runs of the retention table that are in the grid: `dataset`, `method`, `variant`, `seed`.

    Returns None if the base model, with which they are compared, is not in the grid.
    """
    entry, grid_runs = task.settings.get("retention"), task.runs()
    if not entry:
        return []
    runs = [
        {"dataset": entry["dataset"], "method": method, "variant": variant, "seed": seed}
        for method, variant in (run.split("/") for run in entry["runs"])
        for seed in entry["seeds"]
    ]
    runs = [run for run in runs if run in grid_runs]
    return runs if any(f"{run['method']}/{run['variant']}" == entry["base"] for run in runs) else []


def retention_rows(task: Task) -> list[str]:
    """Return the rows of the retention table: `method/variant`."""
    return list(dict.fromkeys(f"{run['method']}/{run['variant']}" for run in retention_runs(task)))


def retention_seeds(task: Task) -> list[int]:
    """Return the seeds of the retention table."""
    return list(dict.fromkeys(run["seed"] for run in retention_runs(task)))


def check_retention(task: Task, key: str) -> None:
    entry = task.settings["retention"]
    columns.check_heads(f"{key}.benchmarks", list(entry["benchmarks"]))
    one_of(f"{key}.dataset", "dataset", entry["dataset"], task.datasets)
    one_of(f"{key}.base", "run", entry["base"], entry["runs"])
    expect(
        harness_benchmarks(task),
        f"{key}.benchmarks: all have `unsafe_code: false`, so none runs. Set one to true, or retention: null",
    )


def compute_rows(task: Task) -> list[str]:
    """Return the rows of Table 6 that are in the grid: `method/variant`."""
    grid_runs = grid.run_names(task.config, task.name) if task.settings else []
    return [run for run in (task.settings.get("compute") or {}).get("runs", []) if run in grid_runs]


def check_compute(task: Task, key: str) -> None:
    """Raise JobError unless a device processes the same number of rows at a time in all runs of a dataset."""
    expect(
        all(grid.runs_per_gpu(task.settings["resources"], run) == 1 for run in compute_rows(task)),
        f"config: tasks.{task.name}.resources: expected runs_per_gpu: 1, since table_compute reports times, which "
        "a shared GPU changes. Set it to 1",
    )
    for dataset in sorted(grid.datasets(task.config, task.name)):
        runs = {f"{run['method']}/{run['variant']}" for run in task.runs() if run["dataset"] == dataset}
        check_micro_batches(task, key, dataset, [run for run in compute_rows(task) if run in runs])


def check_micro_batches(task: Task, key: str, dataset: str, runs: list[str]) -> None:
    values = {run: task.hyperparameters(dataset, run) for run in runs if methods.trains(task.config, run)}
    devices = {run: max(1, training.resources(task, run)["gpu"]) for run in values}
    sizes = {
        run: entry["batch_size"] // entry["gradient_accumulation"] // devices[run] for run, entry in values.items()
    }
    expect(
        len({*sizes.values()}) < 2,
        f"{key}: expected equal micro-batches (batch_size / gradient_accumulation / gpu) on {dataset}, found "
        f"{', '.join(f'{run} {size}' for run, size in sizes.items())}. Change gradient_accumulation in "
        f"presets.{task.name}",
    )
