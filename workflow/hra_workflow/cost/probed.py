"""Read what `make preflight` has measured and `make rehearse` estimated, for the models and settings of the config."""

from collections.abc import Iterable
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.tasks.base import Task


def rehearsed_jobs(config: dict, tasks: dict[str, Task]) -> list[dict]:
    """Return the rehearsed jobs, with their memory."""
    saved = files.read_if_valid(Path(config["pathvars"]["results"], "rehearsal.json"))
    return current(saved.get("jobs", []), tasks)


def reported(config: dict, tasks: dict[str, Task], entries: str) -> dict[str, list[dict]]:
    """Return the `findings` or the `rates` of the probes of `make preflight` (`jobs`) and `make rehearse`."""
    saved = files.read_if_valid(Path(config["pathvars"]["results"], "preflight.json")).get(entries, [])
    chosen = current(saved, tasks)
    return {part: [one for one in chosen if one["part"] == part] for part in ("jobs", "rehearsal")}


def current(entries: Iterable[dict], tasks: dict[str, Task]) -> list[dict]:
    """Leave out the entries of probes with another base model, or other settings that change memory or time."""
    known = [one for one in entries if one.get("task") in tasks and one.get("workload")]
    return [one for one in known if tasks[one["task"]].cost.workload(one["run"]) == one["workload"]]
