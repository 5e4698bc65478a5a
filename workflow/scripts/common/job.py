"""The bridge between Snakemake and the scripts.

A script is a function `main(job)`; the job is a plain dict with `rule`, `input`, `output`, `params`, `resources`,
`threads`, `wildcards` and `log`. The same file therefore runs under Snakemake, under torchrun, from a job.json by
hand (`python workflow/scripts/train_glue.py job.json`) and in pytest (`main({...})`).
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from common import files

# Numbers of GPUs mean nothing outside a scheduler's job, so each has its own locks.
SCHEDULER_JOBS = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID")
SCHEDULER_JOB = next((os.environ[name] for name in SCHEDULER_JOBS if name in os.environ), None)
LOCK_FOLDER = Path(os.environ.get("HRA_GPU_LOCKS", f"/tmp/hra-gpu-locks-{os.getuid()}-{SCHEDULER_JOB or 'machine'}"))


class JobError(Exception):
    """What the user can put right: says what was expected, what came and what to do."""


def start(main: Callable[[dict], None], script: str, snakemake=None) -> None:
    """Run `main` as a Snakemake job, or on the job.json named on the command line."""
    if snakemake is None:
        if len(sys.argv) != 2:
            raise SystemExit(f"usage: python {script} JOB.json")
        guarded(main, json.loads(Path(sys.argv[1]).read_text()))
        return
    job = from_snakemake(snakemake)
    terminal = os.dup(sys.stderr.fileno())
    redirect(job["log"])
    if not job["params"].get("network", False):
        os.environ["HF_HUB_OFFLINE"] = "1"
    with reserved_gpus(wanted_gpus(job)):
        if processes(job) > 1:
            status = torchrun(script, job)
        else:
            status = guarded(main, job, exit=False)
    if status:
        with os.fdopen(terminal, "w") as stream:
            print(f"{job['rule']} failed, see {job['log']}\n  {last_error(job)}", file=stream)
        raise SystemExit(status)


def from_snakemake(snakemake) -> dict:
    """The `snakemake` object of a `script:` rule as a plain dict."""

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


def guarded(main: Callable[[dict], None], job: dict, exit: bool = True) -> int:
    """Run `main`; an exception becomes a traceback in the log, an error file beside the run's state, and status 1.

    The error file is what makes a failed run a row of the run table (collect_runs.py).
    """
    error = error_file(job)
    try:
        main(job)
    except Exception as problem:
        traceback.print_exc()
        if error:
            files.write_json(
                error,
                {
                    "status": "failed",
                    "rule": job["rule"],
                    "error": describe(problem),
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                },
            )
        if exit:
            raise SystemExit(1) from None
        return 1
    if error:
        error.unlink(missing_ok=True)
    return 0


def describe(problem: Exception) -> str:
    """One line for the terminal and the run table."""
    text = f"{type(problem).__name__}: {problem}"
    if "No space left" in text:
        text += ". Free some space and run again: finished work is kept, training goes on from its last saved state."
    return " ".join(text.split())


def error_file(job: dict) -> Path | None:
    """Where a failure is written down: in the job's scratch folder, under the stage's name (train_glue: train)."""
    scratch = job["params"].get("scratch")
    return Path(scratch) / f"{job['rule'].partition('_')[0]}.error.json" if scratch else None


def last_error(job: dict) -> str:
    """The line that tells the user what went wrong."""
    error = error_file(job)
    if error and error.exists():
        return json.loads(error.read_text())["error"]
    lines = Path(job["log"]).read_text().strip().splitlines()
    return lines[-1] if lines else "no output"


def redirect(log: str) -> None:
    """Send standard output and error, children's included, to the log file; progress bars stay out of it."""
    os.environ |= {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def processes(job: dict) -> int:
    return max(1, int(job["resources"].get("gpu", 0)))


def wanted_gpus(job: dict) -> int:
    """Number of GPUs that this process must pick for itself: none where the scheduler has given it just these."""
    wanted = int(job["resources"].get("gpu", 0))
    if job["params"].get("device") == "cpu" or not wanted:
        return 0
    given = any(name in os.environ for name in SCHEDULER_JOBS) and len(visible_gpus()) <= wanted
    return 0 if given else wanted


@contextlib.contextmanager
def reserved_gpus(count: int):
    """Hold `count` GPUs of this machine, one lock file each, and show only them to CUDA.

    Snakemake counts GPUs but does not say which one a job may use; without this all local jobs land on GPU 0.
    """
    if count == 0:
        yield
        return
    from filelock import FileLock, Timeout

    LOCK_FOLDER.mkdir(parents=True, exist_ok=True)
    devices = visible_gpus()
    if len(devices) < count:
        raise JobError(
            f"The config asks for {count} GPU(s) per job; this machine shows {len(devices)}. "
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
                # Half a set would starve a job that waits for the other half.
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


def torchrun(script: str, job: dict) -> int:
    """Start the same script once per GPU; a termination signal is passed on, so that training can save its state."""
    job_file = Path(job["params"]["scratch"]) / f"{job['rule']}.job.json"
    files.write_json(job_file, job)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes(job)}", script, str(job_file)]
    process = subprocess.Popen(command)
    for name in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, lambda number, _: process.send_signal(number))
    return process.wait()
