"""The demo's tasks in a size for tests that run them with the real scripts."""

from pathlib import Path

import yaml
from snakemake.utils import update_config

from project import Project
from support import ROOT


def tiny_demo(task: str, datasets: dict[str, str], changes: str) -> dict:
    """Return the demo's config of a task, changed by some YAML; datasets: name here -> name in the demo.

    Its preset is `tiny`: the demo's without settings of single methods.
    """
    demo = yaml.safe_load((ROOT / "config/demo/config.yaml").read_text())
    config = {
        "datasets": {task: {name: demo["datasets"][task][known] for name, known in datasets.items()}},
        "presets": {task: {"tiny": {"source": "test", "all": demo["presets"][task]["demo"]["all"]}}},
        "tasks": {task: demo["tasks"][task] | {"preset": "tiny"}},
    }
    update_config(config, yaml.safe_load(changes))
    return config


def real_project(fresh: Project, folder: Path, config: dict) -> Project:
    """Copy the project, with the library that the real scripts import and this config as tiny.yaml."""
    project = fresh.copy(folder)
    project.link_library()
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return project
