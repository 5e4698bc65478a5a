"""The plan of a project's tables, which power.py and archive.py read: every job, with its state and the config."""

import tempfile
from pathlib import Path

from hra_workflow import tasks
from hra_workflow.commands.project import QUIET, Project, call
from hra_workflow.core import files
from hra_workflow.core.errors import expect


def target(table: str) -> str:
    """Return the target of a table: that of a task also has its figures."""
    return table if table in tasks.classes() else f"table_{table}"


def made(project: Project, name: str, **config) -> tuple[int, dict]:
    """Run dry; return the exit status and, if it is 0, the plan. Snakemake's output is printed only if it fails.

    config: keys for --config.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "plan.json")
        options = ("-n",) if project.verbose else ("-n", "-q", *QUIET)
        command = project.command(*options, targets=(name,), plan_file=str(path), **config)
        status = call(command, None if project.verbose else lambda line: False)
        if status:
            return status, {}
        expect(path.exists(), f"{name}: expected a plan of Snakemake, found none. See its output with --verbose.")
        return status, files.read_json(path)


def of_files(plan: dict, paths: list[str]) -> dict:
    """Return the plan of some files: their jobs, and those that these depend on."""
    makers = {path: job for job in plan["jobs"] for path in job["outputs"]}
    needed, left = {}, [*paths]
    while left:
        job = makers.get(left.pop())
        if job and id(job) not in needed:
            needed[id(job)] = job
            left += job["inputs"]
    return plan | {"jobs": [job for job in plan["jobs"] if id(job) in needed]}
