"""The tables and figures of a task, and the published numbers and runs that they compare with."""

from pathlib import Path

import yaml

from hra_workflow import ROOT, methods
from hra_workflow.core import grid
from hra_workflow.tasks.base import Task

NOTES = "workflow/report/notes.yaml"  # the paragraphs next to the paper's numbers, by task


def results(task: Task) -> list[str]:
    """List the tables, figures and contact sheets, as paths in the results folder."""
    paths = [f"table_{name}.csv" for name in task.tables()]
    paths += [f"figures/{task.name}_{figure}.png" for figure in figures(task)]
    if task.settings.get("tune"):
        paths += [f"tune_{task.name}.csv"]
    if task.has_sheets:
        paths += [f"sheets/{task.name}_{dataset}.png" for dataset in grid.datasets(task.config, task.name)]
    return paths


def figures(task: Task) -> list[str]:
    """List the figures with contents: none if nothing is trained, and one over λ if it has two values."""
    if not any(methods.trains(task.config, run) for run in grid.run_names(task.config, task.name)):
        return []
    several = len({point["lambda"] for point in methods.lambdas(task.config, task.name).values()}) > 1
    sweep = ["lambda"] if several and task.settings["figures"]["lambda"] else []
    return ["parameters", *sweep]


def published(task: Task) -> dict | None:
    """Return the source of the published numbers of the task's table: the paper, the config's source, or None.

    `file`: its name; `label`, `notes`, `noise` by column; `first`: whether methods that it lacks are listed before
    its rows.
    """
    stated = task.settings.get("published")
    if isinstance(stated, dict):
        return {"noise": {}} | stated | {"file": Path(stated["file"]).stem, "first": True}
    if not stated:
        return None
    notes = yaml.safe_load(Path(ROOT, NOTES).read_text(encoding="utf-8")).get(task.name, [])
    return {"file": task.name, "label": "paper", "notes": notes, "noise": {}, "first": False}


def published_file(task: Task, name: str) -> Path | None:
    """Return the CSV with the published numbers of a table or figure; only the paper has several for a task.

    The paper's are in config/published/; the path of another source is relative to the working directory, or else
    to the workflow's folder.
    """
    stated = task.settings.get("published")
    if not isinstance(stated, dict):
        return Path(ROOT, f"config/published/{name}.csv") if stated else None
    if name != task.name:
        return None
    places = [Path(stated["file"]), Path(ROOT, stated["file"])]
    return next((path for path in places if path.is_file()), places[-1])


def verdicts(task: Task) -> dict:
    """Return the settings of the sentences on differences: `columns`, `reference`, and `baselines`.

    The baselines are the trained ones, or the base model if there are none.
    """
    entries = {run: methods.get(task.config, run.split("/")[0]) for run in grid.run_names(task.config, task.name)}
    base_model = [run for run, entry in entries.items() if not entry.trains and not entry.real_images]
    return {
        "columns": task.settings["figures"]["parameters"],
        "reference": task.settings.get("reference"),
        "baselines": [run for run, entry in entries.items() if entry.trains and entry.baseline] or base_model,
    }


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
