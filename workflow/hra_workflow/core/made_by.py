"""What a result was made by: stated in the result, and compared by whoever reads it with what is asked for.

Answers and archives of images state it in their head, metrics, manifests of initial adapters and of control images in
their entry `made_by`:

result      which one it is: the values of its wildcards, but for the shard
weights     SHA-256 of each file of weights that made it, by its path in the run's folder, as in train.json
inputs      SHA-256 of the files that each manifest lists, by the path of the manifest
settings    the identity of its job: the params that Snakemake records (snake/reruns.py); generated: of the job before

So what another run, other weights or another config have made is never taken for the result that is asked for, whoever
has put it there: a job whose Snakemake was killed, a copy, a file of another version.
"""

import json
from pathlib import Path

from hra_workflow.core import files, fingerprints, records
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import identity

KEY = "made_by"
# Wildcards that tell results apart.
PARTS = ("noun", "task", "dataset", "method", "variant", "seed", "answers", "benchmark")
RECORD = "train.json"


def of(job: dict, weights: dict[str, str] | None = None) -> dict:
    """Return what the results of a job are made by; weights: their SHA-256, as in the run's record."""
    return {
        "result": result(job["wildcards"]),
        "weights": weights or {},
        "inputs": {path: fingerprints.of_input(path) for path in manifests_of(job)},
        "settings": identity(job),
    }


def of_manifest(job: dict) -> dict:
    """Return what the files of a manifest are made by; the manifest states their inputs itself."""
    return {"settings": identity(job)}


def result(wildcards: dict) -> str:
    return "/".join(str(wildcards[name]) for name in PARTS if name in wildcards)


def manifests_of(job: dict) -> list[str]:
    inputs = [path for value in job["input"].values() for path in ([value] if isinstance(value, str) else value)]
    return sorted(path for path in inputs if path.endswith("manifest.json"))


def check(path: str | Path, found: dict, expected: dict) -> None:
    """Raise JobError unless the result `path` was made by what is asked for.

    found: what it states, {} if nothing. expected: `result`, `settings` and `weights`, as far as they are known here.
    Its inputs are compared with the manifests that exist.
    """
    if differences := differing(found, expected):
        raise JobError(
            f"{path}: expected a result made as the config and the run's {RECORD} ask for, found another: "
            f"{', '.join(differences)}. Delete it and run again."
        )


def differing(found: dict, expected: dict) -> list[str]:
    """List how what a result states differs from what is expected, in the form `max_new_tokens 8, now 20`."""
    if not found:
        return ["it does not state what it was made by (a file of an earlier version, or another program's)"]
    stated = found.get("inputs", {})
    known = {name: found[name] for name in expected} | {"inputs": stated}
    now = expected | {"inputs": stated | {path: fingerprints.of_input(path) for path in stated if Path(path).exists()}}
    return fingerprints.differences(*(json.loads(json.dumps(one)) for one in (known, now)))


def of_evaluation(job: dict) -> dict:
    """Return what a job's metrics are made by, with the settings of the outputs that it has evaluated."""
    return {name: value for name, value in of(job).items() if name != "weights"} | evaluated(job["params"])


def evaluated(params: dict) -> dict:
    return {"generated": params["generated"]} if "generated" in params else {}


def check_generated(path: str | Path, found: dict, record: dict, wildcards: dict, settings: dict) -> None:
    """Raise JobError unless outputs are those of the run of a record; wildcards and settings: of their generation."""
    check(path, found, {"result": result(wildcards), "weights": of_run(found, record), "settings": settings})


def of_run(found: dict, record: dict) -> dict:
    """Return the weights of a run's record that made a result, where it states them."""
    return {name: record["weights_sha256"].get(name) for name in found.get("weights", {})}


def check_place(path: str | Path, found: dict) -> None:
    """Raise JobError unless the result RUN/{benchmark}/… is its folder's, and of the weights of the run's record."""
    folder = Path(path).parent
    record = records.read(folder.parent / RECORD)
    if record["status"] == records.DIVERGED:  # nothing was made
        return
    check(path, found, {"result": result(record | {"benchmark": folder.name}), "weights": of_run(found, record)})


def check_manifest(path: str | Path, settings: dict) -> None:
    """Raise JobError if a manifest states that it was made with other settings; those of earlier versions do not."""
    if found := files.read_json(path).get(KEY):
        check(path, found, {"settings": settings})
