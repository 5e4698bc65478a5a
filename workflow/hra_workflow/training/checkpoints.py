"""Training checkpoints in the scratch folder: only intact ones are used, whenever a job was killed.

scratch/RUN/made_from.json       everything that the results depend on (core/made_from.py)
scratch/RUN/attempts.json        seconds and start of each attempt
scratch/RUN/checkpoint-{step}/   weights, optimiser, schedule, random state, and `complete`, written last
scratch/RUN/.unsealed/           a checkpoint, or outputs, while the holder of the folder's lock (lock.py) writes them
scratch/RUN/best, …/steps        weights that the run keeps (GLUE, subjects)
"""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

from hra.paths import share
from hra_workflow.core import files, made_from

COMPLETE = "complete"
TRAINED = "trained.safetensors"
MADE_FROM = "made_from.json"
KEPT = ("best", "steps")
PREFIX = "checkpoint-"
UNSEALED = ".unsealed"  # the folder in which the processes of this job write


def save_trained(model, checkpoint: Path) -> None:
    """Write the trainable parameters of a model."""
    from safetensors.torch import save_file

    from hra_workflow.models import adapters

    checkpoint.mkdir(parents=True, exist_ok=True)
    save_file(adapters.trained_state(model), checkpoint / TRAINED)


def load_trained(model, checkpoint: Path) -> None:
    """Restore the parameters that `save_trained` wrote."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(checkpoint / TRAINED), strict=False)


def seal(written: Path) -> None:
    """Sync a checkpoint to disk, write `complete`, rename it to its final name, then remove older checkpoints.

    `complete` also lists the sizes of the weights that the run has kept so far, which a resumed training needs.
    """
    scratch = written.parents[1]
    kept = {
        str(path.relative_to(scratch)): path.stat().st_size for folder in KEPT for path in contents(scratch / folder)
    }
    share(written)
    complete(written, kept)
    checkpoint = scratch / written.name
    remove(checkpoint)
    written.rename(checkpoint)
    sync_folder(scratch)
    for old in by_step(scratch):
        if old != checkpoint:
            remove(old)


def complete(folder: Path, kept: dict[str, int] | None = None) -> None:
    """Sync a folder to disk and write `complete`: size and SHA-256 of each file, and the sizes `kept`."""
    listed = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sync_file(path)}
        for path in contents(folder)
    }
    with files.replacing(folder / COMPLETE) as new:
        new.write_text(json.dumps({"files": listed, "kept": kept or {}}))
        sync_file(new)
    sync_folder(folder)


def newest(scratch: Path) -> tuple[Path | None, list[str]]:
    """Return the newest intact checkpoint, and the damage of newer ones, which are removed."""
    problems = []
    for checkpoint in reversed(by_step(scratch)):
        if not (problem := damage(checkpoint)):
            return checkpoint, problems
        problems.append(f"{checkpoint.name} is incomplete: {problem}")
        remove(checkpoint)
    return None, problems


def damage(checkpoint: Path) -> str | None:
    """Describe the damage of a checkpoint: a file is missing or differs from its entry in `complete`."""
    try:
        content = json.loads((checkpoint / COMPLETE).read_text())
        for name, entry in content["files"].items():
            path = checkpoint / name
            if (size := path.stat().st_size) != entry["bytes"]:
                return f"{name} has {size} bytes, expected {entry['bytes']}"
            if files.sha256(path) != entry["sha256"]:
                return f"{name} has a different SHA-256 than when it was written"
        for name, expected in content["kept"].items():
            if (size := (checkpoint.parent / name).stat().st_size) != expected:
                return f"{name} has {size} bytes, expected {expected}"
    except FileNotFoundError as problem:
        return f"{Path(problem.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as problem:
        return f"it cannot be read ({problem})"
    return None


def usable(scratch: Path, made: dict) -> tuple[Path | None, list[str]]:
    """Return the checkpoint from which a training run can resume, and why others were discarded.

    A checkpoint of a different training run (settings, data, versions) is set aside; a damaged one is deleted.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    discarded = claim(scratch, made)
    checkpoint, damaged = newest(scratch)
    if damaged and not checkpoint:  # the kept weights belong to the lost checkpoint
        for name in KEPT:
            remove(scratch / name)
    discarded += damaged
    for reason in discarded:
        print(f"{reason}: {f'resuming at {checkpoint.name}' if checkpoint else 'starting over'}")
    return checkpoint, discarded


def claim(scratch: Path, made: dict) -> list[str]:
    """Claim the scratch folder for this training run and return the reasons why a checkpoint in it cannot be used.

    A checkpoint of a different training run is set aside until this run has finished.
    """
    path = scratch / MADE_FROM
    reasons = []
    if path.exists():
        try:
            saved = json.loads(path.read_text())
            found = made_from.differences(*map(made_from.without_folders, (saved, made)))
        except (OSError, ValueError, AttributeError, KeyError) as problem:
            found = [f"an unknown origin ({path.name} cannot be read: {problem})"]
        reasons = [f"the training checkpoint has {', '.join(found)}"] if found else []
    elif by_step(scratch) or any((scratch / name).exists() for name in KEPT):
        reasons = [f"the training checkpoint has an unknown origin ({path.name} is missing)"]
    if reasons:
        remove(folder_aside(scratch))
        scratch.rename(folder_aside(scratch))
    for interrupted in scratch.glob(f"{UNSEALED}*"):
        remove(interrupted)
    files.write_json(path, made)
    return reasons


def folder_aside(scratch: Path) -> Path:
    """Return the folder of a checkpoint that was set aside."""
    return scratch.with_name(f"{scratch.name}.set-aside")


def remove(folder: Path) -> None:
    """Rename a folder, then delete it: whenever the process is killed, the folder is intact or missing.

    Files that cannot be deleted (NFS keeps open files as .nfs…) remain until the next call.
    """
    if folder.exists():
        folder.rename(folder.with_name(f".{folder.name}.{time.time_ns()}.removed"))
    for removed in folder.parent.glob(f".{folder.name}.*.removed"):
        shutil.rmtree(removed, ignore_errors=True)


def by_step(scratch: Path) -> list[Path]:
    return sorted(scratch.glob(f"{PREFIX}*"), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(PREFIX))


def contents(folder: Path) -> list[Path]:
    """List the files in a folder, without hidden ones, which are being written."""
    inside = (path for path in folder.rglob("*") if path.is_file() and path.name != COMPLETE)
    return sorted(path for path in inside if not any(part[0] == "." for part in path.relative_to(folder).parts))


def sync_file(path: Path) -> str:
    """Sync a file to disk and return its SHA-256."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
