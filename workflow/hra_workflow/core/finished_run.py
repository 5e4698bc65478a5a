"""The run that a job reads: whether its record is the expected one, and whether its weights belong to it.

A run that has diverged (training/attempts.py) is neither generated from nor evaluated: outputs are empty files, or
files that record this if their format allows it.
"""

import functools
import tarfile
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import files, made_from, manifests, predictions, records
from hra_workflow.core.errors import expect


def read(job: dict, *weights: str | Path) -> dict:
    """Return the record of the run that a job reads; raise JobError unless it is made from what the config specifies.

    weights: the files that the job uses; raise JobError unless the run has written them.
    """
    path = job["input"]["record"]
    record = records.read(path)
    made_from.check_input(job, "record", record.get(made_from.KEY, {}))
    if weights:
        manifests.check_weights(record, path, *weights)
    return record


def read_requested(record: str, weights: str, model: str, run: dict[str, str], expected: dict | None = None) -> dict:
    """Return the record of a finished run that a user names; raise JobError unless it is usable.

    record: train.json. weights: the file to use. model: the manifest of the base model. run: the wildcards of the job.
    expected: what the run is made from according to the config; None: another config, or other data, may have made it.
    """
    for path in (record, weights, model):
        expect(Path(path).exists(), f"expected a finished run, found no {path}. Make it first (hra-workflow run).")
    content = records.read(record)
    found = content.get(made_from.KEY, {})
    if expected is None:
        found = found and found | {"inputs": {}}
    asked = {"result": made_from.result({name: run[name] for name in made_from.RUN})}
    made_from.check(record, found, asked | (expected or {}))
    manifests.check_trained_on(content, model)
    expect(content["status"] == "ok", f"{record}: expected a finished run, found one that has diverged.")
    manifests.check_weights(content, record, weights)
    return content


def read_metrics(expected: dict[str, dict]) -> list[dict]:
    """Return the metrics of a run; raise JobError unless they are made from what is expected, by path."""
    found = []
    for path, asked in expected.items():
        expect(Path(path).exists(), f"expected an evaluated run, found no {path}. Make it first (hra-workflow run).")
        one = records.read(path)
        made_from.check(path, one.get(made_from.KEY, {}), asked)
        found.append(one)
    return found


def unless_diverged(main: Callable[[dict], None]) -> Callable[[dict], None]:
    """Wrap the `main` of a script, so that it only writes outputs that say so if the run of its job has diverged."""

    @functools.wraps(main)
    def run(job: dict) -> None:
        record = records.read(job["input"]["record"]) if "record" in job["input"] else {}  # none of the base model
        if record.get("status") != records.DIVERGED:
            return main(job)
        for path in job["output"].values():
            if path.endswith(".json"):
                content = {"status": records.DIVERGED, "error": record["error"], "seconds": 0.0, "device": ""}
                records.write(path, content)
            elif path.endswith(".tar"):
                with files.replacing(path) as temporary:
                    tarfile.open(temporary, "w").close()
            else:
                predictions.write(path, [])
        print(f"Nothing to do: the training has diverged ({record['error']}).")

    return run
