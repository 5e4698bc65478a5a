"""The contents of results/contents.json: tasks, files and runs."""

from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.report import colours, selections, user_functions
from hra_workflow.tasks import outputs, user_data
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.expected_runs import errors_of_run
from hra_workflow.tasks.images import ImageTask


def covered(config: dict, chosen: list[Task]) -> list[Task]:
    """Select the chosen tasks with a table; if there are none, all, or with `incomplete: true` those with runs."""
    results = Path(config["pathvars"]["results"])
    finished = [task for task in chosen if (results / f"table_{task.name}.csv").exists()]
    begun = [task for task in chosen if config["incomplete"] and (results / task.name).exists()]
    return finished or begun or chosen


def files_of(config: dict, task: Task) -> dict:
    """Return the paths of a task's run table, tables (CSV), trials of tuning, figures and contact sheets.

    Once the main table exists, its other tables are listed only if they exist: they may need further jobs.
    """
    results, main = Path(config["pathvars"]["results"]), f"table_{task.name}.csv"
    tables, trials, figures, sheets = [], [], {}, {}
    for name in outputs.results(task):
        path, part = results / name, Path(name).stem.removeprefix(f"{task.name}_")
        if name.startswith("figures/"):
            figures[part] = str(path.with_suffix(".svg"))
        elif name.startswith("sheets/"):
            sheets[part] = str(path)
        elif name.startswith("tune_"):
            trials.append(str(path))
        elif name == main or path.exists() or not (results / main).exists():
            tables.append(str(path))
    runs = str(results / f"runs_{task.name}.csv")
    return {"runs": runs, "tables": tables, "trials": trials, "figures": figures, "sheets": sheets}


def files(config: dict, chosen: list[Task]) -> list[str]:
    """List the files that contents.json describes."""
    paths = [files_of(config, task) for task in covered(config, chosen)]
    return [
        path
        for kinds in paths
        for path in (
            kinds["runs"],
            *kinds["tables"],
            *kinds["trials"],
            *kinds["figures"].values(),
            *kinds["sheets"].values(),
        )
    ]


def tasks(config: dict, chosen: list[Task]) -> dict[str, dict]:
    """Describe the covered tasks, by name."""
    folder = grid.paths(config)["run"]
    return {
        task.name: files_of(config, task)
        | {
            "title": task.title,
            "model": task.settings["model"],
            "labels": grid.labels(config, task.name),
            "colours": colours.of_methods(config),
            "trained": [name for name in grid.run_names(config, task.name) if methods.trains(config, name)],
            "baselines": outputs.verdicts(task)["baselines"],
            "data": user_data.manifests(task),
            "benchmarks": user_data.benchmarks(task),
            "functions": own_functions_of(task),
            "plotted": {
                "parameters": task.settings["figures"]["parameters"],
                "lambda": task.settings["figures"]["lambda"],
            },
            "local": [name for name in grid.datasets(config, task.name) if user_data.is_own(task, name)],
            "selection": task.selections[0],
            "titles": selections.name_splits(selections.splits(user_data.benchmarks(task)), selections.TITLES),
            "images": isinstance(task, ImageTask),
            "better": directions(task),
            "published": (outputs.published(task) or {"label": ""})["label"],
            "datasets": {name: examples_of(task, name) for name in grid.datasets(config, task.name)},
            "expected": [
                run
                | errors_of_run(task, run)
                | {
                    "folder": folder.format(task=task.name, **run),
                    "measure": methods.get(config, run["method"]).adapter.measure,
                }
                for run in task.runs()
            ],
        }
        for task in covered(config, chosen)
    }


def examples_of(task: Task, name: str) -> dict:
    """Return the settings that show a dataset's predictions, and its benchmarks."""
    entry = task.entry(name)
    shown = {key: entry[key] for key in ("columns", "labels", "metrics") if key in entry}
    return shown | {"benchmarks": list(entry["benchmarks"]), "scores": main_metrics(task, name)}


def main_metrics(task: Task, dataset: str) -> dict[str, str]:
    """Return the metric of a dataset's first column in the table per benchmark; a plotted column takes precedence."""
    plotted, found = task.settings["figures"]["parameters"], {}
    columns = sorted(grid.columns(task.config, task.name), key=lambda column: column["name"] not in plotted)
    for column in columns:
        if dataset in column.get("datasets", [column.get("dataset")]):
            found.setdefault(column["benchmark"], column["metric"])
    return found


def directions(task: Task) -> list[tuple[str, str, str]]:
    """List benchmark, metric and the direction of better values of the table's columns and of retention."""
    columns, retention = grid.columns(task.config, task.name), task.retention()
    return list(
        dict.fromkeys(
            (one["benchmark"], one["metric"], one.get("better", "higher"))
            for one in [*columns, *([retention] if retention else [])]
        )
    )


def own_functions_of(task: Task) -> list[str]:
    """List the user's functions and classes that a task's settings and the datasets of its grid name."""
    used = [task.settings, *(task.datasets[name] for name in grid.datasets(task.config, task.name))]
    return sorted({*user_functions.names(used, "hra_workflow")})


def sheet_labels(config: dict, task: str, paths: list[str]) -> dict[str, str]:
    """Return the label of the run of each path of a contact sheet's inputs."""
    labels = grid.labels(config, task).items()
    return {path: label for run, label in labels for path in paths if f"/{run}/" in path}


def sheet_metrics(config: dict, task: str, dataset: str) -> dict[str, dict]:
    """Return name and scale of the metrics below a contact sheet's images."""
    return {
        column["metric"]: {"name": column["name"], "scale": column.get("scale", 1)}
        for column in grid.columns(config, task)
        if dataset in column.get("datasets", [column.get("dataset")])
    }
