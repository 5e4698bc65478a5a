"""Evaluations that a training job has made: kept next to the record until the jobs of the benchmarks take them over.

The GPU and the loaded environment are thus used for both, but metrics and predictions remain separate outputs that can
be remade without training. `RUN/{benchmark}/.early-{digest}/` holds both files. The digest covers the run's record,
which has the hashes of its weights, and the settings of the evaluation, so results of other weights are never found.
"""

import shutil
from pathlib import Path

from hra_workflow.core import files, fingerprints, made_by, records

PREFIX = ".early-"
NAMES = {"metrics": "metrics.json", "predictions": "predictions.jsonl.gz"}


def folder(record: dict, evaluation: Path, dataset: dict) -> Path:
    """Return the folder of a run's early results. `dataset`: the param of the evaluation."""
    return evaluation / f"{PREFIX}{fingerprints.digest([record[records.SEAL], dataset])}"


def jobs(job: dict, record: dict) -> list[dict]:
    """Return the evaluation jobs of a training job's benchmarks, which write to the folders that `take` reads."""
    run, params, found = Path(job["output"]["record"]).parent, job["params"], []
    for benchmark, split in params["evaluation"]["benchmarks"].items():
        discard(run / benchmark)
        computed = {key: value for key, value in params["evaluation"].items() if key != "benchmarks"}
        dataset = params["dataset"] | computed | {"split": split}
        place = folder(record, run / benchmark, dataset)
        output = {name: str(place / file) for name, file in NAMES.items()}
        changes = {"params": params | {"dataset": dataset}, "wildcards": job["wildcards"] | {"benchmark": benchmark}}
        found.append(job | changes | {"output": output})
    return found


def take(job: dict, record: dict) -> bool:
    """Move the results of the training job to the outputs of an evaluation job; return whether any exist."""
    place = folder(record, Path(job["output"]["metrics"]).parent, job["params"]["dataset"])
    if not place.exists():
        return False
    with files.replacing(job["output"]["predictions"]) as new:  # a copy: an output must be newer than the record
        shutil.copyfile(place / NAMES["predictions"], new)
    metrics = records.read(place / NAMES["metrics"])
    records.write(job["output"]["metrics"], metrics | {made_by.KEY: made_by.of_evaluation(job)})
    shutil.rmtree(place)
    return True


def discard(evaluation: Path) -> None:
    for left in evaluation.glob(f"{PREFIX}*"):
        shutil.rmtree(left)


def expected(evaluation: Path, dataset: dict) -> bool:
    """Return whether a training job has made, or will make, the results of an evaluation.

    `dataset`: the param of the evaluation. A training job that has not run will make them. If results with this param
    exist, the evaluation runs again only if the training does.
    """
    if not (evaluation.parent / records.OF_RUN).exists():
        return True
    results = files.read_if_valid(evaluation / NAMES["metrics"])
    if results.get("evaluated_as") == fingerprints.digest(dataset):
        return True
    record = files.read_if_valid(evaluation.parent / records.OF_RUN)
    diverged = record.get("status") == records.DIVERGED  # there is nothing to evaluate
    return diverged or (records.SEAL in record and folder(record, evaluation, dataset).exists())
