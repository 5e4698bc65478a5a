"""The check of a finished run whose weights are used outside of the tables: exported, or applied to new inputs."""

from pathlib import Path

from hra_workflow.core import manifests, records
from hra_workflow.core.errors import expect


def checked(record: str, weights: str, model: str) -> dict:
    """Return a run's record; JobError unless it, its weights and its base model are those of the training.

    record: train.json. weights: the file to use. model: the manifest of the base model.
    """
    for path in (record, weights, model):
        expect(Path(path).exists(), f"expected a finished run, found no {path}. Make it first (make run).")
    content = records.read(record)
    expect(content["status"] == "ok", f"{record}: expected a finished run, found one that has diverged.")
    manifests.check_trained_on(content, model)
    manifests.check_weights(content, record, weights)
    return content
