"""A project for one task: a folder with a config and data, whose runs write nothing outside of it.

The folder is made in the working directory, from which the project is also run. demo: use the demo's small models, for
two CPU cores without a GPU, instead of the paper's. The folder `project` of a task's package has the template of the
config, its values, and example data.
"""

import os
import re
import shutil
from pathlib import Path
from string import Template

import yaml

from hra_workflow import ROOT, tasks
from hra_workflow.config import overlays
from hra_workflow.core.errors import JobError
from hra_workflow.data import sources

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
TAKEN = ("results", "resources", "scratch", "logs", "demo")  # the folders of the grid and of the demo, made or not
DEMO = "config/demo/config.yaml"
TEMPLATES = {path.parent.name: path for path in sorted(Path(tasks.__file__).parent.glob("*/project"))}
HEAD = Template("""\
# yaml-language-server: $$schema=$schema
# Project $name. What it does not state is $whose (config/README.md). Examples: docs/your-own.md
${extends}pathvars: {results: $name/results, resources: $name/resources, scratch: $name/scratch, logs: $name/logs}

""")


def values_of(task: str, demo: bool) -> dict:
    values = yaml.safe_load((TEMPLATES[task] / "values.yaml").read_text())
    return values | values["demo" if demo else "paper"]


def make(name: str, task: str = "glue", demo: bool = False) -> Path:
    """Write the folder of a project and return its config; raise JobError if the name cannot be used."""
    folder = Path(name)
    check(folder, task)
    values = values_of(task, demo)
    (folder / "data").mkdir(parents=True)
    if (examples := TEMPLATES[task] / "data").is_dir():
        shutil.copytree(examples, folder / "data", dirs_exist_ok=True)
    if "examples" in values:
        sources.of(values["examples"]).fetch(folder / "data")
    (folder / ".gitignore").write_text("/results/\n/resources/\n/scratch/\n/logs/\n")
    path, body = folder / "config.yaml", Template((TEMPLATES[task] / "config.yaml").read_text())
    extends, whose = (f"extends: {DEMO}\n", "the demo's, and then the paper's") if demo else ("", "the paper's")
    schema = os.path.relpath(f"{ROOT}/workflow/schemas/config.schema.json", folder)
    path.write_text(
        HEAD.substitute(name=name, extends=extends, whose=whose, schema=schema) + body.substitute(values, name=name)
    )
    return path


def check(folder: Path, task: str) -> None:
    """Raise JobError unless the task has a template, and folder and dataset can have this name."""
    name = str(folder)
    if task not in TEMPLATES:
        raise JobError(f"expected a task of {', '.join(TEMPLATES)}, found {task!r}. Correct --task.")
    if not re.fullmatch(NAME, name) or not isinstance(yaml.safe_load(name), str):
        raise JobError(
            "expected a name of letters, digits, _ and -, which starts with a letter or digit and is no number, date "
            f"or word of YAML such as yes, found {name!r}. Choose another one."
        )
    shipped = [*Path(ROOT, "config", task).glob("*.yaml"), Path(ROOT, DEMO)]
    datasets = overlays.merged(*map(overlays.read, shipped))["datasets"][task]
    if name in (*TAKEN, *datasets) or folder.exists():
        raise JobError(
            f"expected the name of a new folder, which no dataset of config/ has, found {name!r}. Choose another."
        )


def create(name: str, task: str, demo: bool) -> None:
    """Make a project, and print what to do next."""
    path = make(name, task, demo)
    following = Template(values_of(task, demo)["next"]).substitute(name=name)
    print(
        f"Made {path}, for {task}. {following} (docs/your-own.md). Then:\n"
        f"  hra-workflow plan {name}     what it costs; also run, status, report"
    )
