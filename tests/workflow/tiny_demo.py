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


def with_a_killed_shard(fresh: Project, folder: Path, task: str, config: dict, *targets: str) -> Project:
    """Make a task's targets, of which the first needs shards of images; one is killed, and only that one runs again."""
    project = fresh.copy(folder / "project")
    project.link_library()
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    script, line = "workflow/hra_workflow/models/image_shards.py", "            progress.update(len(batch))\n"
    kill = (
        "            import os; written.result()\n"  # the first batch is written
        f'            os.kill(os.getpid(), 9 * (job["rule"] == "generate_{task}" and index == 1))\n'
    )
    project.change(script, line, line + kill)
    command = ("--cores", "2", "--configfile", "tiny.yaml", "--")
    project.snakemake(*command, targets[0], ok=False)
    project.change(script, kill, "")
    planned = project.plan(*targets, config="tiny.yaml")
    assert {job.split(" shard=")[1] for job in planned[f"generate_{task}"]} == {"1 n_shards=2"}
    of_task = {f"{name}_{task}" for name in ("generate", "gather", "sheet")}
    assert planned.keys() - {f"evaluate_{task}"} == {*of_task, "runs", "compare", "table"}
    project.snakemake(*command, *targets)
    return project
