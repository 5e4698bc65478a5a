"""The GPUs of a job: reserved with locks on a machine without a scheduler, and shared with other runs.

A job locks one slot of each of its GPUs: one of n if `runs_per_gpu` is n, or the only one. A slot of n is 1/n of a GPU,
and those in use never add up to more than the GPU, so runs with different `runs_per_gpu` can share it.
"""

import contextlib
import os
import subprocess
import time
from fractions import Fraction
from pathlib import Path

from hra_workflow.core.errors import JobError

# GPU indices are only meaningful within a scheduler job, so every job has its own locks.
SCHEDULER_JOBS = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID")
SCHEDULER_JOB = next((os.environ[name] for name in SCHEDULER_JOBS if name in os.environ), None)
LOCK_FOLDER = Path(os.environ.get("HRA_GPU_LOCKS", f"/tmp/hra-gpu-locks-{os.getuid()}-{SCHEDULER_JOB or 'machine'}"))
RUNS = "PACKED_JOBS"  # variable of a job that shares its GPU, which an executor may set: the number of jobs on it


def requested(job: dict) -> int:
    """Return how many GPUs a job requests."""
    return int(job["resources"].get("gpu", 0))


def processes(job: dict) -> int:
    """Return the number of processes that train together: one per GPU, or one on the CPU."""
    return max(1, requested(job))


def runs_per_gpu(job: dict) -> int:
    """Return how many runs share the GPU of this job: the runs of its pack, or as many as the locks allow."""
    if RUNS in os.environ:
        return int(os.environ[RUNS])
    return int(job["resources"].get("jobs_per_gpu", 1)) if to_reserve(job) else 1


def device_seconds(attempts: dict) -> float:
    """Add up the seconds of all attempts, each divided by the number of runs that shared its GPU."""
    found = zip(attempts.get("seconds", []), attempts.get("runs_per_gpu", []), strict=True)
    return sum(one / runs for one, runs in found)


def to_reserve(job: dict) -> int:
    """Return the number of GPUs that this process must reserve itself: none if the scheduler has assigned them."""
    count = requested(job)
    if job["params"].get("device") == "cpu" or not count:
        return 0
    given = any(name in os.environ for name in SCHEDULER_JOBS) and len(visible()) <= count
    return 0 if given else count


def hide_unrequested(job: dict) -> None:
    """Hide all GPUs from a job that requests none: on a machine without a scheduler, CUDA would use the first one."""
    if not requested(job):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@contextlib.contextmanager
def reserved(count: int, share: int = 1):
    """Reserve one of `share` slots of each of `count` GPUs of this machine, and make only these GPUs visible to CUDA.

    Snakemake counts GPUs but does not assign them to jobs; without this, all local jobs would use GPU 0.
    """
    if count == 0:
        yield
        return
    devices = visible()
    if len(devices) < count:
        raise JobError(
            f"The config requests {count} GPU(s) per job; this machine has {len(devices)}. "
            "Set `resources: {gpu: 0}` of the task to train on the CPU, or run on a machine with GPUs."
        )
    LOCK_FOLDER.mkdir(parents=True, exist_ok=True)
    while not (held := lock_devices(devices, count, share)):
        time.sleep(1)
    before = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", RUNS)}
    try:
        os.environ |= {"CUDA_VISIBLE_DEVICES": ",".join(held), RUNS: str(share)}
        yield
    finally:
        for name in before:
            os.environ.pop(name, None)
        os.environ |= {name: value for name, value in before.items() if value is not None}
        for lock in held.values():
            lock.release()


def lock_devices(devices: list[str], count: int, share: int) -> dict:
    """Lock one of `share` slots of `count` devices and return the locks by device; {} if not enough are free.

    It chooses the fullest devices with such a slot, so that others remain free for jobs that need a complete device.
    """
    from filelock import FileLock

    with FileLock(LOCK_FOLDER / "choosing.lock"):
        taken = {one: [path.name for path in LOCK_FOLDER.glob(f"{one}.*of*") if is_locked(path)] for one in devices}
        used = {one: sum(Fraction(1, int(name.rpartition("of")[2])) for name in taken[one]) for one in devices}
        fitting = sorted((one for one in devices if used[one] + Fraction(1, share) <= 1), key=used.get, reverse=True)
        held = {}
        for one in fitting[:count] if len(fitting) >= count else []:
            names = (f"{one}.{index}of{share}" for index in range(share))
            held[one] = FileLock(LOCK_FOLDER / next(name for name in names if name not in taken[one]))
            held[one].acquire()
    return held


def is_locked(path: Path) -> bool:
    """Return whether another job has locked a file."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True


def visible() -> list[str]:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [device for device in listed.split(",") if device]
    try:
        output = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(index) for index, line in enumerate(output.splitlines()) if line.startswith("GPU ")]
