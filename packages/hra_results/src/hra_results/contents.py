"""results/contents.json: what the config specifies about the results, with the paths of their files in this folder.

The file is written where the runs were made, and its paths are relative to the folder in which Snakemake ran. If only
the folder of results was copied, files outside it are missing: their paths become None, or are left out of a list.
"""

import os
from pathlib import Path

from hra_results.described import NAME
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.logs import tail

LOG_LINES = 15


def read(folder: Path) -> dict:
    """Return the contents of a folder of results."""
    place = folder / NAME
    if not place.exists():
        raise JobError(
            f"{place}: expected the list of the results' tasks and runs, found none. Run `hra-workflow report` in "
            "the project that has made them."
        )
    return located(files.read_json(place), folder)


def located(content: dict, folder: Path) -> dict:
    """Replace the paths by those in this folder, and paths of error files by their contents."""
    paths = Paths(folder, Path(content["results"]))
    for task in content["tasks"].values():
        task["runs"] = paths.found(task["runs"])
        first, *others = task["tables"]
        task["tables"] = [paths.found(first), *paths.existing(others)]
        task["trials"] = paths.existing(task["trials"])
        for name in ("figures", "sheets"):
            places = {key: paths.found(path) for key, path in task[name].items()}
            task[name] = {key: path for key, path in places.items() if path and path.exists()}
        for run in task["expected"]:
            run["path"] = paths.found(run["folder"])
            run["errors"] = paths.failures(run["errors"])
            run["benchmarks"] = {name: paths.failures(errors) for name, errors in run["benchmarks"].items()}
    return content


class Paths:
    """Paths of contents.json on this machine. folder: that of the results. results: its path when they were made."""

    def __init__(self, folder: Path, results: Path):
        self.folder, self.results = folder, results
        parts, here = results.parts, Path(os.path.abspath(folder))
        self.project = None  # the folder in which Snakemake ran, if the results are still there
        if here.parts[-len(parts) :] == parts:
            self.project = Path.cwd() if results.is_absolute() else Path(*here.parts[: -len(parts)])

    def found(self, path: str | None) -> Path | None:
        """Return where a file of contents.json is; None if it was not copied with the results."""
        if path is None:
            return None
        if Path(path).is_relative_to(self.results):
            return self.folder / Path(path).relative_to(self.results)
        return self.project and self.project / path

    def existing(self, paths: list[str]) -> list[Path]:
        return [path for path in map(self.found, paths) if path and path.exists()]

    def failures(self, errors: list[str]) -> list[dict]:
        """Read these error files, if they exist, with the `tail` of the job's log."""
        found = []
        for path in self.existing(errors):
            content = files.read_json(path)
            logs = self.existing([content["log"]])
            found.append(content | {"tail": "".join(tail(log, LOG_LINES) for log in logs)})
        return found
