"""Checks of a finished run whose weights are exported or applied to new inputs."""

from pathlib import Path

from hra_workflow.core import made_by, manifests, records
from hra_workflow.core.errors import expect


def read_run(record: str, weights: str, model: str, run: dict[str, str]) -> dict:
    """Return a run's record; raise JobError unless it, its weights and its base model are those of the training.

    record: train.json. weights: the file to use. model: the manifest of the base model. run: the wildcards of the job.
    """
    for path in (record, weights, model):
        expect(Path(path).exists(), f"expected a finished run, found no {path}. Make it first (make run).")
    content = records.read(record)
    wanted, found = ([str(one[name]) for name in made_by.RUN if name in run] for one in (run, content))
    expect(
        wanted == found,
        f"{record}: expected the record of {'/'.join(wanted)}, found that of {'/'.join(found)}, copied from there. "
        "Delete the folder and run again.",
    )
    expect(content["status"] == "ok", f"{record}: expected a finished run, found one that has diverged.")
    manifests.check_trained_on(content, model)
    manifests.check_weights(content, record, weights)
    return content


def check_current(record: dict, path: str, asked: dict, inputs: dict[str, str]) -> None:
    """Raise JobError unless a run's record, the file `path`, matches the config (records.list_differences)."""
    differences = records.list_differences(record, asked, inputs)
    expect(
        not differences,
        f"{path}: expected the run that the config specifies, found another one: {', '.join(differences)}. Pass the "
        f"CONFIG that it was trained with, or delete {path} and run again (make run).",
    )


def read_results(record: dict, expected: dict[str, dict]) -> list[dict]:
    """Return the results of a run, metrics.json of each benchmark; raise JobError if one is of other weights.

    expected: the config's values of each result's `made_by` entry, by path (made_by.py).
    """
    found = []
    for path, asked in expected.items():
        expect(Path(path).exists(), f"expected an evaluated run, found no {path}. Make it first (make run).")
        one = records.read(path)
        same = (one.get("record_sha256"), one.get("task_version")) == (record[records.SEAL], record["task_version"])
        expect(
            same,
            f"{path}: expected the results of the run as it is now, found those of an earlier training or version. "
            "Evaluate it again (make run).",
        )
        made_by.check(path, one.get(made_by.KEY, {}), asked)
        found.append(one)
    return found
