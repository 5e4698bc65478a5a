"""Read what probes have found (results/preflight.json), for the models and settings of the config."""

from pathlib import Path

from hra_workflow.core import files
from hra_workflow.tasks import work
from hra_workflow.tasks.base import Task


def reported(config: dict, tasks: dict[str, Task], entries: str) -> list[dict]:
    """Return the `findings`, `rates` or `memory` of probes; none of another base model, or of other settings.

    Those of part `jobs` were measured by `hra-workflow smoke`, the others estimated by the command in `by`.
    """
    saved = files.read_if_valid(Path(config["pathvars"]["results"], "preflight.json")).get(entries, [])
    known = [one for one in saved if one.get("task") in tasks and one.get("workload")]
    return [one for one in known if work.workload(tasks[one["task"]], one["run"]) == one["workload"]]
