"""The record in each result of how it was made; every job that reads it compares it with the config and train.json.

Answers and archives of images have it in their head; metrics, and the manifests of initial adapters and of control
images, in their entry `made_by`:

result      the values of its wildcards, without the shard
weights     SHA-256 of each file of weights that was used, by its path in the run's folder, as in train.json
inputs      SHA-256 of the files that each manifest lists, by the path of the manifest
settings    the identity of its job: the params that Snakemake records (snakemake_bridge/reruns.py). Merged outputs have
            that of the job that generated them; metrics contain it as `generated`

So a result of another run, other weights or another config is refused, whether a job whose Snakemake was killed, a copy
or another version left it there.
"""

import json
from pathlib import Path

from hra_workflow.core import files, fingerprints, records
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import recorded_params

KEY = "made_by"
RUN = ("task", "dataset", "method", "variant", "seed")
SHARDS = ("shard", "n_shards")


def describe(job: dict, weights: dict[str, str] | None = None) -> dict:
    """Return the record of how a job's results are made. weights: SHA-256 of the used ones, as in the run's record."""
    return {
        "result": result(job["wildcards"]),
        "weights": weights or {},
        "inputs": {path: fingerprints.of_input(path) for path in manifests_of(job)},
        "settings": recorded_params(job),
    }


def result(wildcards: dict) -> str:
    others = sorted(wildcards.keys() - {*RUN, *SHARDS})
    return "/".join(str(wildcards[name]) for name in (*RUN, *others) if name in wildcards)


def manifests_of(job: dict) -> list[str]:
    inputs = [path for value in job["input"].values() for path in ([value] if isinstance(value, str) else value)]
    return sorted(path for path in inputs if path.endswith("manifest.json"))


def check(path: str | Path, found: dict, expected: dict) -> None:
    """Raise JobError unless the result `path` was made as expected.

    found: its record, {} if it has none. expected: `result`, `settings` and `weights`, as far as they are known here.
    Its inputs are compared with the manifests that exist.
    """
    if differences := list_differences(found, expected):
        raise JobError(
            f"{path}: expected a result of this config and of the run's {records.OF_RUN}, found a different one: "
            f"{', '.join(differences)}. Delete it and run again."
        )


def list_differences(found: dict, expected: dict) -> list[str]:
    """List the differences of a result's record from the expected one, in the form `max_new_tokens 8, now 20`."""
    if not found:
        return ["it does not record how it was made (an earlier version or another program wrote it)"]
    inputs = found.get("inputs", {})
    known = {name: found.get(name) for name in expected} | {"inputs": inputs}
    now = expected | {"inputs": inputs | {path: fingerprints.of_input(path) for path in inputs if Path(path).exists()}}
    return fingerprints.differences(*(json.loads(json.dumps(one)) for one in (known, now)))


def of_evaluation(job: dict) -> dict:
    """Return the record of how a job's metrics are made."""
    return {name: value for name, value in describe(job).items() if name != "weights"}


def check_generated(path: str | Path, found: dict, record: dict, wildcards: dict, settings: dict) -> None:
    """Raise JobError unless outputs belong to the run of a record. wildcards, settings: those of their generation."""
    check(path, found, {"result": result(wildcards), "weights": of_run(found, record), "settings": settings})


def of_run(found: dict, record: dict) -> dict:
    """Return the SHA-256 in a run's record of the weights that a result names."""
    return {name: record["weights_sha256"].get(name) for name in found.get("weights", {})}


def check_place(path: str | Path, found: dict) -> None:
    """Raise JobError unless the result RUN/{benchmark}/… belongs to its folder and to the run's recorded weights."""
    folder = Path(path).parent
    record = records.read(folder.parent / records.OF_RUN)
    if record["status"] == records.DIVERGED:  # nothing was generated
        return
    here = {name: record[name] for name in RUN} | {"benchmark": folder.name}
    check(path, found, {"result": result(here), "weights": of_run(found, record)})


def check_manifest(path: str | Path, expected: dict) -> None:
    """Raise JobError unless the files of a manifest were made as expected; see `check`."""
    check(path, files.read_json(path).get(KEY, {}), expected)
