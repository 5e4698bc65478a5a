"""The contents of results/contents.json: what the config specifies about the results and their files do not contain.

Programs that only read results need it, such as for titles, labels, datasets and the expected runs. Its paths are
relative to the folder in which Snakemake runs.
"""

import json
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import yaml

from hra_workflow import ROOT, methods
from hra_workflow import tasks as every_task
from hra_workflow.config import overlays
from hra_workflow.core import files, grid, imports
from hra_workflow.models import diffusion
from hra_workflow.report import colours, selections
from hra_workflow.tasks import outputs, user_data
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.expected_runs import errors_of_run
from hra_workflow.tasks.images import ImageTask

NAME = "contents.json"


def chosen(plan: dict) -> list[Task]:
    """Return the tasks of a plan of `all`: those whose main table it has."""
    config, made = plan["config"], {path for job in plan["jobs"] for path in job["outputs"]}
    main = "{}/table_{}.csv"
    loaded = every_task.load(config).values()
    return [task for task in loaded if main.format(config["pathvars"]["results"], task.name) in made]


def write(config: dict, chosen: list[Task]) -> Path:
    """Write the contents of a folder of results, and return the folder."""
    described, folder = tasks(config, chosen), Path(config["pathvars"]["results"])
    content = contents({"tasks": described, "results": str(folder), "changes": changes(config)})
    files.write_text(folder / NAME, json.dumps(content, indent=1) + "\n")
    return folder


def contents(params: dict) -> dict:
    """Replace the names of the user's functions by their files."""
    every = params["tasks"].values()
    return {
        "results": params["results"],
        "tasks": {
            name: {key: value for key, value in facts.items() if key != "functions"}
            for name, facts in params["tasks"].items()
        },
        "modules": modules(name for facts in every for name in facts["functions"]),
        "changes": params["changes"],
    }


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


def targets(config: dict, chosen: list[Task]) -> list[str]:
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
            "warnings": selections.training_split_warnings(user_data.benchmarks(task)),
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
    """List benchmark, metric and the direction of better values of the table's columns."""
    columns = grid.columns(task.config, task.name)
    return list(dict.fromkeys((one["benchmark"], one["metric"], one.get("better", "higher")) for one in columns))


def own_functions_of(task: Task) -> list[str]:
    """List the user's functions and classes that a task's settings and the datasets of its grid name."""
    used = [task.settings, *(task.datasets[name] for name in grid.datasets(task.config, task.name))]
    return sorted({*names(used, "hra_workflow")})


def names(value, package: str) -> Iterator[str]:
    """Yield the names in the values of a part of the config. `package`: the package that is not the user's."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from names(one, package)
    elif isinstance(value, str) and imports.NAME.fullmatch(value) and not value.startswith(f"{package}."):
        yield value


def modules(found: Iterable[str]) -> list[dict]:
    """Return per top-level module of the names its `file` and `source`; packages and missing modules have no source."""
    listed = []
    for top in dict.fromkeys(name.partition(":")[0].partition(".")[0] for name in found):
        spec = find_spec(top)
        path = Path(spec.origin) if spec and spec.origin and not spec.submodule_search_locations else None
        listed.append({"file": path.name if path else top, "source": path.read_text() if path else None})
    return listed


def changes(config: dict) -> str:
    """Return the config's differences from the shipped files, as YAML that can be merged over them; empty if none."""
    old = overlays.merged(*map(overlays.read, overlays.shipped(Path(ROOT))))
    diffusion.add_targets(old)
    changed = difference(old, config)
    text = yaml.safe_dump(changed, sort_keys=False, allow_unicode=True, width=110) if changed else ""
    return re.sub(r"(https?://)[^/\s@]+@", r"\1", text)  # reports are shared: without a password


def difference(old: dict, new: dict) -> dict:
    """Return the entries of `new` that differ from `old`, recursively; one that `new` lacks is None."""
    differing = {}
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            if below := difference(old[key], value):
                differing[key] = below
        elif key not in old or old[key] != value:
            differing[key] = value
    return differing | {key: None for key in old if key not in new}
