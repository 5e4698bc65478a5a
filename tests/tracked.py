"""What experiment trackers have got of a run, and the requirement of their packages."""

import importlib.util
import os
from pathlib import Path

import numpy
import pytest

from hra_workflow.core import files
from hra_workflow.training import trackers
from support import require

FILES = ("tensorboard", "mlflow")  # in the dependency group `dev`


def report(run, *names: str) -> None:
    """Have a run report to trackers; skip the test if one of them is not installed."""
    for name in names:
        there = importlib.util.find_spec(name) is not None  # not imported: trackio reads its folder from then on
        require(there or name not in FILES, f"{name} is not installed")
        if not there:
            pytest.skip(f"{name} is not installed")
    for variable in trackers.offline(run.folder / "trackers"):  # as an earlier test has set them
        os.environ.pop(variable, None)
    run.report_to = names


def tensorboard(run) -> Path:
    return run.folder / "trackers/tensorboard" / trackers.run_name(run.train)


def in_tensorboard(run, curve: str) -> list[tuple[int, float]]:
    """Return the points in all files, also those that TensorBoard would hide."""
    points = []
    for file in sorted(tensorboard(run).glob("events.*"), key=os.path.getmtime):
        points += in_events(file, curve)
    return points


def in_events(path: Path, curve: str) -> list[tuple[int, float]]:
    """Return the points of a file, or of a folder as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    known = curve in events.Tags()["scalars"]
    return [(point.step, point.value) for point in events.Scalars(curve)] if known else []


def in_mlflow(run) -> list[dict]:
    """Return the runs in MLflow's files: name, status, configuration, and the points of every curve."""
    import mlflow

    client = mlflow.MlflowClient((run.folder / "trackers/mlflow").as_uri())
    (experiment,) = client.search_experiments(filter_string=f"name = '{trackers.PROJECT}'")
    return [
        {"name": found.info.run_name, "status": found.info.status, "configuration": found.data.params}
        | {"source": found.data.tags["mlflow.source.name"]}
        | {
            curve: [(point.step, point.value) for point in client.get_metric_history(found.info.run_id, curve)]
            for curve in found.data.metrics
        }
        for found in client.search_runs([experiment.experiment_id])
    ]


def check_curve(run, curve: str) -> None:
    """Assert that both trackers have the points of the record, each once and in order."""
    record, metric = files.read_json(run.train["output"]["record"]), curve.partition("/")[2]
    expected = [(point["step"], point["metrics"][metric]) for point in record["curve"]]
    (found,) = in_mlflow(run)
    assert found[curve] == expected
    rounded = [(step, float(numpy.float32(value))) for step, value in expected]  # as events store them
    assert in_tensorboard(run, curve) == rounded
    assert found["name"] == trackers.run_name(run.train) and found["status"] == "FINISHED"
    assert found["source"] == run.train["rule"]
    assert found["configuration"]["learning_rate"] == str(record["hyperparameters"]["learning_rate"])
    assert found["configuration"]["data_sha256"] == record["data_sha256"]
