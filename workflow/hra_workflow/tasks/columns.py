"""The columns of a task's table: their names, metrics, directions and units."""

from collections.abc import Iterable

from hra_workflow.core import grid
from hra_workflow.core.errors import each_once, expect
from hra_workflow.report import column_units
from hra_workflow.report.run_columns import OF_TRAINING, TRAINING
from hra_workflow.tasks.base import Task

# Columns of the tables' CSV files: those of a row, and those computed for a column, by the endings of their names.
# No column of the config has such a name.
OF_ROWS = {"method", "setting", "run", "selection", "preset", "n_seeds", "params_M", "params_M_published", "missing"}
ENDINGS = ("_std", "_n", "_published", "_difference", "_better", "_best", "_verdict")


def metrics(task: Task, dataset: str) -> dict[str, list[str]]:
    """Return the metrics that a column may show, by benchmark, also of TRAINING."""
    entry = task.entry(dataset)
    return {name: entry["metrics"] for name in entry["benchmarks"]} | {TRAINING: list(OF_TRAINING)}


def direction(task: Task, dataset: str, benchmark: str, metric: str) -> str:
    """Return which values of a metric are better, lower or higher; "": the column decides."""
    return "lower" if benchmark == TRAINING else task.direction(dataset, metric)


def units(task: Task) -> dict[str, column_units.Unit]:
    """Return the units of the table's columns and averages."""
    return column_units.units(shown(task))


def parts(task: Task) -> dict[str, list[dict]]:
    """Return the columns of one dataset in each column and average of the table."""
    return column_units.parts(shown(task))


def shown(task: Task) -> dict:
    columns, averages = (found(task.config, task.name) for found in (grid.columns, grid.averages))
    return {"columns": columns, "averages": averages, "scale": task.scale}


def check(task: Task) -> None:
    """Raise JobError for two columns or rows with one name, a wrong direction, or an average of unequal columns."""
    key, columns = f"config: tasks.{task.name}", task.settings["columns"]
    wide = [column["name"] for column in columns if "dataset" not in column]  # computed with one per dataset
    parts = [f"{name}: {dataset}" for name in wide for dataset in grid.datasets(task.config, task.name)]
    names = [*(column["name"] for column in columns), *grid.averages(task.config, task.name)]
    check_heads(f"{key}.columns and averages", names, parts)
    labels = grid.labels(task.config, task.name)
    each_once(f"{key}.grid: `label` of the variants", "label", labels.values())
    for dataset in grid.datasets(task.config, task.name):
        benchmarks = task.entry(dataset)["benchmarks"]
        each_once(f"config: datasets.{task.name}.{dataset}.benchmarks", "name", [*benchmarks, TRAINING])
    for column in grid.columns(task.config, task.name):
        for dataset in column.get("datasets") or [column["dataset"]]:
            check_direction(task, f"{key}.columns: {column['name']}", dataset, column)
    found = units(task)
    for name, members in grid.averages(task.config, task.name).items():
        described = {one: f"scale {found[one].scale:g}, better {found[one].better}" for one in members}
        expect(
            len({*described.values()}) == 1,
            f"{key}.averages: {name}: expected columns with one scale and one better direction, found "
            f"{', '.join(f'{one} ({text})' for one, text in described.items())}. Remove the columns that differ",
        )


def check_heads(key: str, names: list[str], parts: Iterable[str] = ()) -> None:
    """Raise JobError if columns of a table's CSV file have the same name. `parts`: other names that must differ."""
    each_once(key, "name", [*names, *parts])
    for name in names:
        expect(
            name not in OF_ROWS and not name.endswith(ENDINGS),
            f"{key}: expected a name that is none of {', '.join(sorted(OF_ROWS))} and does not end in "
            f"{', '.join(ENDINGS)}, as computed columns do, found {name!r}. Change the name",
        )


def check_direction(task: Task, key: str, dataset: str, column: dict) -> None:
    """Raise JobError if a column states another better direction than its metric has."""
    known = direction(task, dataset, column["benchmark"], column["metric"])
    stated = column.get("better", "higher")
    expect(
        known in ("", stated),
        f"{key}: expected better: {known}, since {known} values of {column['metric']} are better, found "
        f"{stated}{' (the default)' * ('better' not in column)}. Write better: {known}",
    )


def unshown(task: Task) -> list[str]:
    """List the datasets of the grid without a column in the table, for the dry run."""
    columns = task.settings["columns"]
    if any("dataset" not in column for column in columns):
        return []
    shown = {column["dataset"] for column in columns}
    planned = [name for name in grid.datasets(task.config, task.name) if name not in shown]
    return [
        f"no column of tasks.{task.name}.columns shows {name}, so its runs are in no table and no figure. Add "
        f"{{name: {name}, dataset: {name}, benchmark: {next(iter(entry['benchmarks']))}, metric: {entry['score']}}}"
        for name in planned
        if (entry := task.entry(name))
    ]
