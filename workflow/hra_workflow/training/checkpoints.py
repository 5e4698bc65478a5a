"""Training checkpoints in the scratch folder: a folder has its name only when it is complete and synced.

scratch/RUN/made_from.json       everything that the results depend on (core/made_from.py)
scratch/RUN/attempts.json        seconds and start of each attempt
scratch/RUN/checkpoint-{step}/   weights, optimiser, schedule, random state
scratch/RUN/.unsealed/           a checkpoint, or outputs, while the holder of the folder's lock (lock.py) writes them
scratch/RUN/best, …/steps        weights that the run keeps (GLUE, subjects)
"""

import os
import shutil
import time
from pathlib import Path

from hra.paths import share
from hra_workflow.core import files, made_from

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
    """Sync a checkpoint to disk, rename it to its final name, then remove older checkpoints.

    The weights that the run has kept so far are synced first, since a resumed training needs them.
    """
    scratch = written.parents[1]
    share(written)
    for folder in (*(scratch / name for name in KEPT if (scratch / name).exists()), written):
        sync(folder)
    checkpoint = scratch / written.name
    remove(checkpoint)
    written.rename(checkpoint)
    sync_path(scratch)
    for old in by_step(scratch):
        if old != checkpoint:
            remove(old)


def newest(scratch: Path) -> Path | None:
    return next(reversed(by_step(scratch)), None)


def usable(scratch: Path, made: dict) -> tuple[Path | None, list[str]]:
    """Return the checkpoint from which a training run can resume, and why another one was deleted.

    It is deleted if it is of a different training run (settings, data, versions).
    """
    scratch.mkdir(parents=True, exist_ok=True)
    path, discarded = scratch / MADE_FROM, []
    saved = files.read_json(path) if path.exists() else {}
    if saved or by_step(scratch):
        found = made_from.differences(*map(made_from.without_folders, (saved, made)))
        discarded = [f"the training checkpoint has {', '.join(found)}"] if found else []
    if discarded:
        print(f"{discarded[0]}: starting over")
        remove(scratch)
    remove(scratch / UNSEALED)
    files.write_json(path, made)
    return newest(scratch), discarded


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
    inside = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in inside if not any(part[0] == "." for part in path.relative_to(folder).parts))


def sync(folder: Path) -> None:
    """Sync a folder's files and names to disk."""
    for path in (*contents(folder), folder):
        sync_path(path)


def sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
