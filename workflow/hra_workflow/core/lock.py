"""The lock of a folder in which a job continues what a killed one has left: checkpoints, a partial download.

Other results need none: they become visible by one renaming (files.py), and a job that reads one compares what it was
made from. The kernel releases a lock when the last process that holds it has ended, however it ended.
"""

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import lock_descriptor

from hra_workflow.core import gpus, provenance
from hra_workflow.core.errors import JobError
from hra_workflow.core.process_identity import STARTED_BY, check_starter

LOOK = 1  # seconds between two attempts
PATIENCE = 600  # of a scheduler's job, in which waiting costs GPU hours
# The files of a training job in a run's scratch folder; other jobs have subfolders there.
OF_TRAINING = ("checkpoint-*", "best", "steps", "*.json", ".*")


class Locked(JobError):
    """Raised when another process still holds a lock."""


def file_for(folder: str | Path) -> Path:
    """Return the path of a folder's lock, which is next to it and remains."""
    path = Path(folder).absolute()
    return path.with_name(f".{path.name}.lock")


@contextlib.contextmanager
def held(folder: str | Path, say: Callable[[str], None] = print, patience: float | None = None) -> Iterator[int]:
    """Hold the lock of a folder within the block; yield its descriptor: a process that inherits it holds it as well.

    While other processes hold it, wait, at most `patience` seconds, and say so once.
    """
    path = file_for(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if acquired(descriptor, path, say, patience):
            with contextlib.suppress(OSError):  # the disk may be full
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}, {provenance.now()}".encode(), 0)
        check_starter()
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def of_training(job: dict, say: Callable[[str], None]) -> Iterator[int | None]:
    """Hold the lock of a training job's scratch folder; torchrun's processes have inherited it."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        yield None
        return
    with held(job["params"]["scratch"], say, PATIENCE if gpus.SCHEDULER_JOB else None) as descriptor:
        os.environ.pop(STARTED_BY, None)  # from now on, the next Snakemake's job waits for this one
        yield descriptor


def acquired(descriptor: int, path: Path, say: Callable[[str], None], patience: float | None) -> bool:
    """Wait for a lock. Return False if the file system has none; raise Locked after `patience` seconds."""
    begun, told = time.monotonic(), False
    try:
        while not lock_descriptor(descriptor, blocking=False):
            by = f"{path} is locked by {path.read_text() or 'another process'}, or by a process that it has started."
            if patience is not None and time.monotonic() - begun >= patience:
                raise Locked(f"{by} Run the same command again when it has ended.")
            if not told:
                say(f"{by} Waiting until it has ended.")
                told = True
            time.sleep(LOOK)
    except OSError as problem:
        say(f"warning: {path} cannot be locked ({problem.strerror}): do not start the same run twice.")
        return False
    return True


def forget_checkpoints(job: dict, pathvars: dict) -> None:
    """Delete the checkpoints of the training runs whose records a job reads: Snakemake has recorded these runs as done.

    If they remained, a repeated training job would end immediately. The checkpoints of a run that another process is
    training remain.
    """
    given = [job["input"].get(name) or [] for name in ("record", "records")]
    for record in (path for one in given for path in ([one] if isinstance(one, str) else one)):
        run, results = (Path(os.path.abspath(path)) for path in (Path(record).parent, pathvars["results"]))
        if not run.is_relative_to(results):  # another project's
            continue
        scratch = Path(pathvars["scratch"]) / run.relative_to(results)
        with contextlib.suppress(Locked):
            if found := [path for pattern in OF_TRAINING for path in scratch.glob(pattern)]:
                with held(scratch, patience=0):
                    for path in found:
                        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
