"""The outputs of a finished training, kept until Snakemake has taken note of them.

Snakemake deletes the outputs of a job that ended without its notice, and runs it again: Snakemake or the job was killed
just then, or the disk was full when it wrote its own files. The checkpoints are gone by then, but not RUN/.finished/:

train.json      the record, with the fingerprint of what this run was trained with (fingerprints.py)
last/, …        the weights; the outputs are hard links to them, which take no space, or copies where there are none
complete        size and SHA-256 of each file, written before the folder gets its name

The job that runs again finds them and trains nothing. The first job that reads the record deletes the folder
(core/job.py): Snakemake starts it when it has taken note.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from hra_workflow.core import files, fingerprints, records
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import FINISHED
from hra_workflow.core.process_identity import orphaned
from hra_workflow.training import checkpoints


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore SIGTERM while a trained run is evaluated and kept, for which there is no checkpoint."""
    handler = signal.signal(signal.SIGTERM, lambda *_: print("SIGTERM: ignored, this run is finishing", flush=True))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def kept(job: dict) -> Iterator[Path]:
    """Yield a folder with the weights from scratch, to put the others and the record in; it becomes RUN/.finished."""
    scratch = Path(job["params"]["scratch"])
    with files.replacing_folder(folder(job)) as new:
        for name in outputs(job):
            (new / name).mkdir()
            for path in checkpoints.contents(scratch / name):
                files.link(path, new / path.relative_to(scratch))
        yield new
        checkpoints.complete(new)


def publish(job: dict) -> None:
    """Make the kept files the outputs of the job, the record last."""
    for name in outputs(job):
        (folder(job).parent / name).mkdir(parents=True, exist_ok=True)
        for path in checkpoints.contents(folder(job) / name):
            output(path, folder(job).parent / path.relative_to(folder(job)))
    output(folder(job) / records.OF_RUN, Path(job["output"]["record"]))


def end(job: dict) -> None:
    """Publish a finished run, unless its Snakemake has ended and would not know, and delete its checkpoints."""
    if orphaned():
        print(f"Snakemake has ended: the run is kept in {folder(job)}, and the next Snakemake's job restores it.")
    else:
        publish(job)
    remove_training(job)


def restored(job: dict) -> bool:
    """Restore the outputs of a run that finished unnoted, as they were; False: there is none, or another than this one.

    A damaged one is not used. What is left of its training in the scratch folder is deleted.
    """
    if not folder(job).exists():
        return False
    if problem := checkpoints.damage(folder(job)) or another(job):
        print(f"the finished run in {folder(job)} is not used: {problem}")
        return False
    publish(job)
    remove_training(job)
    print(f"restored from {folder(job)}: this run had finished before")
    return True


def another(job: dict) -> str:
    """Describe how a finished run differs from the one that the job trains; empty if it does not."""
    try:
        record = records.read(folder(job) / records.OF_RUN)
    except JobError as problem:
        return str(problem)
    if problem := fingerprints.contradictions(record):
        return f"its record contradicts itself: {', '.join(problem)}"
    saved = record["fingerprint"]
    now = fingerprints.of_training(job, saved["steps"], saved.get("processes") is not None)  # from the rest
    return ", ".join(fingerprints.differences(saved, now))


def output(path: Path, place: Path) -> None:
    """Make a kept file an output; outputs are newer than inputs, or Snakemake repeats the job."""
    files.link(path, place)
    os.utime(place)


def remove_training(job: dict) -> None:
    """Delete what only an unfinished training needs; a trial that ends at a rung leaves the next one its checkpoint."""
    scratch = Path(job["params"]["scratch"])
    checkpoints.remove(checkpoints.aside(scratch))
    if "rung" in job["params"]["hyperparameters"]:
        (scratch / "attempts.json").unlink(missing_ok=True)
    else:
        checkpoints.remove(scratch)


def folder(job: dict) -> Path:
    return Path(job["output"]["record"]).with_name(FINISHED)


def outputs(job: dict) -> list[str]:
    """List the names of the folders of weights next to the record."""
    return sorted(set(job["output"]) - {"record"})
