"""The bridge between Snakemake and the scripts.

A script is a function `main(job)`; the job is a plain dict with `rule`, `input`, `output`, `params`, `resources`,
`threads`, `wildcards` and `log`. The same file therefore runs under Snakemake, under torchrun, from a job.json by
hand (`python workflow/scripts/train_glue.py job.json`) and in pytest (`main({...})`).
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from common.core import files, launcher
from common.core.errors import JobError

TIME = "%Y-%m-%dT%H:%M:%SZ"  # ISO 8601, UTC
# GPU indices are only meaningful within a scheduler job, so every job has its own locks.
SCHEDULER_JOBS = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID")
SCHEDULER_JOB = next((os.environ[name] for name in SCHEDULER_JOBS if name in os.environ), None)
LOCK_FOLDER = Path(os.environ.get("HRA_GPU_LOCKS", f"/tmp/hra-gpu-locks-{os.getuid()}-{SCHEDULER_JOB or 'machine'}"))


def start(main: Callable[[dict], None], script: str, snakemake=None) -> None:
    """Run `main` as a Snakemake job, or on the job.json named on the command line."""
    if snakemake is None:
        if len(sys.argv) != 2:
            raise SystemExit(f"usage: python {script} JOB.json")
        job = json.loads(Path(sys.argv[1]).read_text())
        launcher.end_with_the_job()
        if guarded(main, job):
            raise SystemExit(1)
        return

    def run(job: dict) -> None:
        with reserved_gpus(wanted_gpus(job)):
            if processes(job) > 1:
                launcher.torchrun(script, job, processes(job))
            else:
                main(job)

    job = from_snakemake(snakemake)
    terminal = os.dup(sys.stderr.fileno())
    redirect(job)
    if not job["params"].get("network", False):
        os.environ["HF_HUB_OFFLINE"] = "1"
    if problem := guarded(run, job):
        with os.fdopen(terminal, "w") as stream:
            print(f"{job['rule']} failed, see {job['log']}\n  {problem}", file=stream)
        raise SystemExit(1)


def as_list(paths: str | list[str] | None) -> list[str]:
    """Return input files as a list: Snakemake gives one file as a string."""
    return [paths] if isinstance(paths, str) else list(paths or [])


def from_snakemake(snakemake) -> dict:
    """Convert the `snakemake` object of a `script:` rule to a plain dict."""

    def named(values) -> dict:
        return {key: plain(value) for key, value in values.items()}

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, str | int | float | bool | None):
            return str(value) if isinstance(value, str) else value
        return [plain(item) for item in value]

    return {
        "rule": snakemake.rule,
        "input": named(snakemake.input),
        "output": named(snakemake.output),
        "params": named(snakemake.params),
        "resources": {key: value for key, value in snakemake.resources.items() if not key.startswith("_")},
        "threads": snakemake.threads,
        "wildcards": named(snakemake.wildcards),
        "log": str(snakemake.log[0]),
    }


def guarded(main: Callable[[dict], None], job: dict) -> str | None:
    """Run `main` and return its error in one line, or None. The traceback goes to the log.

    The line is also written to the scratch folder, so that a failed run becomes a row of the run table
    (collect_runs.py).
    """
    error, started = error_file(job), time.time()
    try:
        main(job)
    except launcher.ProcessesFailed:
        return last_error(job, started)
    except Exception as problem:
        text = describe(problem)
        with contextlib.suppress(OSError):  # the disk may be full
            traceback.print_exc()
        if error:
            content = {
                "status": "failed",
                "rule": job["rule"],
                "error": text,
                "time": time.strftime(TIME, time.gmtime()),
            }
            try:
                files.write_json(error, content)
            except OSError as second:
                text += f" (and {error} cannot be written: {second.strerror})"
        return text
    if error:
        error.unlink(missing_ok=True)
    return None


def describe(problem: Exception) -> str:
    """Format an error as one line for the terminal and the run table."""
    text = f"{type(problem).__name__}: {problem}"
    if "No space left" in text:
        text += ". Free some space and run again: finished work is kept, training resumes from its last checkpoint."
    return " ".join(text.split())


def error_file(job: dict) -> Path | None:
    """Return the path of the error file: in the job's scratch folder, named after the stage (train_glue: train)."""
    scratch = job["params"].get("scratch")
    return Path(scratch) / f"{job['rule'].partition('_')[0]}.error.json" if scratch else None


def last_error(job: dict, since: float) -> str:
    """Return the error message of whichever process failed."""
    error = error_file(job)
    if error and error.exists() and error.stat().st_mtime >= since:
        return files.read_json(error)["error"]
    return Path(job["log"]).read_text().strip().splitlines()[-1]


def redirect(job: dict) -> None:
    """Redirect standard output and error, including children's, to the log file, without progress bars.

    Snakemake deletes the log before a retry. Therefore the log is a hard link to a hidden file, to which every attempt
    appends, starting with a header line.
    """
    os.environ |= {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    log = Path(job["log"])
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    attempts = log.with_name(f".{log.name}.attempts")
    target = os.open(attempts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    log.unlink(missing_ok=True)
    os.link(attempts, log)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    place = f"{platform.node()}, job {SCHEDULER_JOB}" if SCHEDULER_JOB else platform.node()
    print(f"=== {time.strftime(TIME, time.gmtime())}, {job['rule']} on {place} ===", flush=True)


def processes(job: dict) -> int:
    return max(1, int(job["resources"].get("gpu", 0)))


def wanted_gpus(job: dict) -> int:
    """Return the number of GPUs that this process must reserve itself: none if the scheduler has assigned them."""
    wanted = int(job["resources"].get("gpu", 0))
    if job["params"].get("device") == "cpu" or not wanted:
        return 0
    given = any(name in os.environ for name in SCHEDULER_JOBS) and len(visible_gpus()) <= wanted
    return 0 if given else wanted


@contextlib.contextmanager
def reserved_gpus(count: int):
    """Reserve `count` GPUs of this machine, with one lock file per GPU, and make only them visible to CUDA.

    Snakemake counts GPUs but does not assign them to jobs; without this, all local jobs would use GPU 0.
    """
    if count == 0:
        yield
        return
    from filelock import FileLock, Timeout

    LOCK_FOLDER.mkdir(parents=True, exist_ok=True)
    devices = visible_gpus()
    if len(devices) < count:
        raise JobError(
            f"The config requests {count} GPU(s) per job; this machine has {len(devices)}. "
            "Set `resources: {gpu: 0}` of the task to train on the CPU, or run on a machine with GPUs."
        )
    held: list[tuple[str, FileLock]] = []
    try:
        while len(held) < count:
            for device in devices:
                lock = FileLock(LOCK_FOLDER / f"{device}.lock")
                if len(held) < count and device not in [name for name, _ in held]:
                    with contextlib.suppress(Timeout):
                        lock.acquire(timeout=0)
                        held.append((device, lock))
            if len(held) < count:
                # Keeping only some of them could deadlock with a job that holds the others.
                for _, lock in held:
                    lock.release()
                held.clear()
                time.sleep(1)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(name for name, _ in held)
        yield
    finally:
        for _, lock in held:
            lock.release()


def visible_gpus() -> list[str]:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [device for device in listed.split(",") if device]
    try:
        output = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(index) for index, line in enumerate(output.splitlines()) if line.startswith("GPU ")]
