"""Finished runs as their folders record them, without a config."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hra_results import prediction_lines
from hra_results.states import valid_records
from hra_workflow import ROOT, tasks
from hra_workflow.core import predictions, records
from hra_workflow.core.errors import JobError, expect
from hra_workflow.tasks.base import Task

FILE = "predictions.jsonl.gz"
TRIAL = "@"  # in the name of a variant: a trial of hyper-parameters
REMEDY = "Copy it again from its origin; for another version of this project, use the code at the commit in train.json."


@dataclass(frozen=True)
class Run:
    """A finished run as its folder records it: train.json, and metrics.json by benchmark."""

    folder: Path
    record: dict
    metrics: dict[str, dict]

    @property
    def name(self) -> str:
        return "/".join(self.record[key] for key in ("task", "dataset", "method", "variant"))

    @property
    def seed(self) -> int:
        return self.record["seed"]

    @property
    def diverged(self) -> bool:
        return self.record["status"] == records.DIVERGED

    @property
    def task(self) -> type[Task]:
        return tasks.classes()[self.record["task"]]

    def values(self, benchmark: str) -> dict[tuple[str, str], float]:
        """Return the values of a benchmark by selection and metric; {} if the run has none."""
        selections = self.metrics.get(benchmark, {}).get("selections", {})
        return {
            (selection, metric): value["value"]
            for selection, found in selections.items()
            for metric, value in found["metrics"].items()
        }

    def lines(self, benchmark: str) -> list[dict] | None:
        """Return the predictions on a benchmark; None without such a file, as for lm-evaluation-harness."""
        place = self.folder / benchmark
        if not (place / FILE).exists():
            return None
        return predictions.evaluated(place / "metrics.json", self.metrics[benchmark])

    def scores(self, benchmark: str, lines: list[dict], selection: str, metric: str) -> np.ndarray | None:
        """Return the values per item (n, k) of a metric; None if it is not computed from items.

        Raises JobError for predictions that this version does not read, or from which it computes another value.
        """
        settings = self.metrics[benchmark].get("made_from", {}).get("settings", {})
        stated = self.values(benchmark)[selection, metric]
        with self.reading(benchmark):
            values = self.task.per_item(lines, selection, metric, prediction_lines.recorded_comparison(settings))
            if values is None:
                return None
            array = np.array(values, float)
            found = self.task.metric(metric).function(*array.T)
            if not math.isclose(found, stated, rel_tol=1e-3, abs_tol=1e-3):
                raise ValueError(f"{metric} is {found:.4g} instead of {stated:.4g} in metrics.json, {selection}")
        return array

    @contextlib.contextmanager
    def reading(self, benchmark: str) -> Iterator[None]:
        """Raise JobError if the code below cannot use the predictions on a benchmark."""
        try:
            yield
        except (LookupError, TypeError, ValueError) as problem:
            raise JobError(
                f"{self.folder / benchmark / FILE}: expected predictions of this version of the project, found others "
                f"({type(problem).__name__}: {problem}). Compare the states with the code at commit "
                f"{self.record['commit']}, or delete the file to compare only the numbers."
            ) from problem


def read_state(name: str, path: str) -> dict[str, Run]:
    """Read the runs of a folder by their paths below it, without trials and exports. name: of the folder.

    Raises JobError for an edited record.
    """
    root = Path(path.removesuffix(f"/{records.OF_RUN}"))
    expect(root.is_dir(), f"{name} ({path}): expected a folder of results or of a run, found none. Correct the path.")
    folders = {file.parent for file in root.rglob(records.OF_RUN)}
    inner = {one for one in folders if folders & {*one.parents}}  # RUN/hub/last
    runs = [read_run(one) for one in sorted(folders - inner)]
    runs = [run for run in runs if TRIAL not in run.record["variant"]]
    expect(
        bool(runs),
        f"{name} ({path}): expected a finished run, found no {records.OF_RUN} but those of trials. Correct the path.",
    )
    return {run.folder.relative_to(root).as_posix(): run for run in runs}


def load(path: Path, schema: str) -> dict:
    """Read a record, {} for the results of a diverged run; check its schema, which the workflow's folder has."""
    if Path(ROOT, "workflow/schemas").is_dir():
        return valid_records.load(path, schema, REMEDY)
    content = records.read(path, REMEDY)
    return {} if schema == "metrics" and content.get("status") == records.DIVERGED else content


def read_run(folder: Path) -> Run:
    """Read a run; raise JobError for a record that was edited, does not fit the schema, or is of another training."""
    record = load(folder / records.OF_RUN, "record")
    expect(
        record["task"] in tasks.classes(),
        f"{folder}: expected a run of {', '.join(tasks.classes())}, found one of the task {record['task']}. Use the "
        "version of this project that has this task.",
    )
    paths = {one.parent.name: one for one in sorted(folder.glob("*/metrics.json"))}
    metrics = {name: load(one, "metrics") for name, one in paths.items()}
    for path in sorted(folder.glob("*.json")):  # results of lm-evaluation-harness
        if path.name != records.OF_RUN and "benchmarks" in (content := records.read(path, REMEDY)):
            try:
                metrics[path.stem], paths[path.stem] = like_metrics(content), path
            except KeyError as missing:
                raise JobError(f"{path}: expected an entry {missing}, found none. {REMEDY}") from missing
    for name, found in metrics.items():
        inputs = found.get("made_from", {}).get("inputs", {})
        expect(
            {record[records.SEAL]}.issuperset(
                sha256 for path, sha256 in inputs.items() if path.endswith(records.OF_RUN)
            ),
            f"{paths[name]}: expected the results of the run as it is now, found those of another {records.OF_RUN}. "
            "Evaluate it again (hra-workflow run).",
        )
    return Run(folder, record, {name: found for name, found in metrics.items() if found})


def like_metrics(content: dict) -> dict:
    """Return the results of several benchmarks in the form of a metrics.json."""
    found = {f"{name} {one['metric']}": {"value": one["value"]} for name, one in content["benchmarks"].items()}
    items = {name: one["n_items"] for name, one in content["benchmarks"].items()}
    common = {name: content[name] for name in ("task_version", "device", "made_from")}
    return content | common | {"n_items": items, "selections": {"last": {"step": None, "metrics": found}}}
