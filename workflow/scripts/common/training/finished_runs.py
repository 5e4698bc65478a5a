"""The outputs of a finished training under second names, until Snakemake has taken note of them.

Snakemake deletes the outputs of a job that ended without its notice, and runs it again: Snakemake or the job was killed
just then, or the disk was full when it wrote its own files. The checkpoints are gone by then, but not RUN/.finished/:

train.json, last/, …    hard links to the outputs, which take no space; copies where the file system has none
fingerprint.json        what the results depend on (fingerprints.py)
complete                size and SHA-256 of each file, written before the folder gets its name

The job that runs again finds them and trains nothing. planning/noted_runs.py deletes the folder.
"""

import os
import shutil
from pathlib import Path

from common.core import files, fingerprints
from common.training import checkpoints

FOLDER = ".finished"


def keep(job: dict, record: dict) -> None:
    """Give the outputs of a run their second names, and write the record there."""
    run, scratch = folder(job).parent, Path(job["params"]["scratch"])
    with files.replacing_folder(folder(job)) as new:
        for name in outputs(job):
            (new / name).mkdir()
            for path in checkpoints.contents(run / name):
                files.link(path, new / path.relative_to(run))
        files.write_json(new / "train.json", record)
        shutil.copyfile(scratch / checkpoints.FINGERPRINT, new / checkpoints.FINGERPRINT)
        checkpoints.complete(new)


def restored(job: dict) -> bool:
    """Restore the outputs of a run that finished unnoted, as they were; False: there is none, or another than this one.

    A damaged one is not used. What is left of its training in the scratch folder is deleted.
    """
    kept = folder(job)
    if not kept.exists():
        return False
    if problem := checkpoints.damage(kept) or another(job, kept):
        print(f"the finished run in {kept} is not used: {problem}")
        return False
    for name in outputs(job):
        (kept.parent / name).mkdir(parents=True, exist_ok=True)
        for path in checkpoints.contents(kept / name):
            again(path, kept.parent / path.relative_to(kept))
    again(kept / "train.json", Path(job["output"]["record"]))
    remove_training(job)
    print(f"restored from {kept}: this run had finished before")
    return True


def another(job: dict, kept: Path) -> str:
    """Describe how a finished run differs from the one that the job trains; empty if it does not."""
    saved = files.read_json(kept / checkpoints.FINGERPRINT)
    return ", ".join(fingerprints.differences(saved, fingerprint(job, kept)))


def fingerprint(job: dict, place: Path | None = None) -> dict:
    """Return the fingerprint of a training that has claimed its scratch folder, or of `place`."""
    saved = files.read_json((place or Path(job["params"]["scratch"])) / checkpoints.FINGERPRINT)
    return fingerprints.of_training(job, saved["steps"], "processes" in saved)  # both follow from the rest


def again(path: Path, output: Path) -> None:
    """Make a file an output again; outputs are newer than inputs, or Snakemake repeats the job."""
    files.link(path, output)
    os.utime(output)


def remove_training(job: dict) -> None:
    """Delete what only an unfinished training needs; a trial that ends at a rung leaves the next one its checkpoint."""
    scratch = Path(job["params"]["scratch"])
    checkpoints.remove(checkpoints.aside(scratch))
    if "rung" in job["params"]["hyperparameters"]:
        (scratch / "attempts.json").unlink(missing_ok=True)
    else:
        checkpoints.remove(scratch)


def folder(job: dict) -> Path:
    return Path(job["output"]["record"]).with_name(FOLDER)


def outputs(job: dict) -> list[str]:
    """List the names of the folders of weights next to the record."""
    return sorted(set(job["output"]) - {"record"})
