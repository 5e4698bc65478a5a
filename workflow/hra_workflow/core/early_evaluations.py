"""Evaluations that a training job has made: kept next to the record until the jobs of the benchmarks take them over.

So a GPU and a loaded environment are used once, and metrics and predictions stay outputs of their own, which are
remade alone. RUN/{benchmark}/.early-{digest}/ holds both files; the digest is of the weights and of how they were
evaluated, so what belongs to other weights is never found.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import files, rewound
from hra_workflow.core.errors import JobError

PREFIX = ".early-"
NAMES = {"metrics": "metrics.json", "predictions": "predictions.jsonl.gz"}


def expected(evaluation: str, outdated: Callable[[], bool] = bool) -> bool:
    """Return whether the folder of a benchmark gets its results from the training job: that ran, or is yet to run.

    Otherwise, only the results are missing or `outdated`, and a job of their own makes them.
    """
    folder = Path(evaluation)
    if rewound.split(folder.name)[1]:
        return False  # training evaluates the weights as trained
    made = any(name.startswith(PREFIX) for name in os.listdir(folder)) if folder.exists() else False
    if made or not (folder.parent / "train.json").exists():
        return True
    return (folder / NAMES["metrics"]).exists() and not outdated()


def folder(record: dict, evaluation: Path, params: dict) -> Path:
    content = [record[name] for name in ("weights_sha256", "model", "data_sha256")]
    content += [params[name] for name in ("dataset", "method", "task_version")]
    return evaluation / f"{PREFIX}{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}"


def jobs(job: dict, record: dict) -> list[dict]:
    """Return the evaluation jobs of a training job's benchmarks, which write to the folders that `take` reads."""
    run, found = Path(job["output"]["record"]).parent, []
    for benchmark in job["params"]["dataset"]["benchmarks"]:
        discard(run / benchmark)
        place = folder(record, run / benchmark, job["params"])
        output = {name: str(place / file) for name, file in NAMES.items()}
        found.append(job | {"wildcards": job["wildcards"] | {"benchmark": benchmark}, "output": output})
    return found


def take(job: dict, record: dict) -> bool:
    """Move the results of the training job to the outputs of an evaluation job; return whether there were any."""
    place = folder(record, Path(job["output"]["metrics"]).parent, job["params"])
    if not place.exists():
        return False
    for name, file in NAMES.items():
        with files.replacing(job["output"][name]) as new:  # a copy, since an output must be newer than the record
            shutil.copyfile(place / file, new)
    shutil.rmtree(place)
    return True


def discard(evaluation: Path) -> None:
    for left in evaluation.glob(f"{PREFIX}*"):
        shutil.rmtree(left)


def must_take(job: dict, record: dict) -> None:
    """Move the results of the training job; raise JobError if there are none, or of other metrics."""
    if not take(job, record):
        discard(Path(job["output"]["metrics"]).parent)  # otherwise, `expected` would wait for them again
        raise JobError(
            f"{job['output']['metrics']}: the training job has not evaluated {job['wildcards']['benchmark']}. "
            "Run the same command again: it evaluates the benchmark in a job of its own."
        )
