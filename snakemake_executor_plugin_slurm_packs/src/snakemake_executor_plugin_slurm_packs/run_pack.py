"""Run the jobs of a pack, which is one Slurm job, as simultaneous job steps that share its GPU.

    python run_pack.py FOLDER [--mps]

FOLDER/pack.json lists the jobs. Each has its own memory limit and ends independently: {index}.ended is its exit status.
If Slurm requeues the pack, only jobs that have neither succeeded nor been reported as failed ({index}.reported) start
again. The environment variable PACKED_JOBS of each job is their number.

--mps: run NVIDIA's multi-process service meanwhile, so that the jobs' kernels run at the same time.

This file imports only the standard library, because it runs on a compute node.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Variables that name the allocation; the others describe the batch step and would become options of the next one.
IDENTITY = ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CLUSTER_NAME", "SLURM_SUBMIT_DIR", "SLURM_SUBMIT_HOST")
# When Slurm ends the pack, its jobs end first; this process is notified, or killed, within these seconds.
GRACE_SECONDS = 1


def main(folder: Path, mps: bool = False) -> int:
    """Run all jobs of the pack and return its exit status: 0 if all have succeeded."""
    jobs = json.loads((folder / "pack.json").read_text())["jobs"]
    ending = False

    def end(number, _):
        nonlocal ending
        ending = True
        for process in steps.values():
            process.send_signal(number)

    steps: dict[int, subprocess.Popen] = {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, end)
    failed = False
    with multi_process_service() if mps else contextlib.nullcontext() as devices:
        for index, job in enumerate(jobs):
            if not is_over(folder / str(index)):
                success(folder, index).unlink(missing_ok=True)
                command = step(job, success(folder, index), devices)
                steps[index] = subprocess.Popen(command, env=environment(len(jobs)))
        while steps:
            process, status = os.wait()
            index = next((index for index, one in steps.items() if one.pid == process), None)
            if index is None:
                continue
            del steps[index]
            # srun's status is also 0 if Slurm has killed the step.
            status = os.waitstatus_to_exitcode(status) or int(not success(folder, index).exists())
            success(folder, index).unlink(missing_ok=True)
            if status:
                time.sleep(GRACE_SECONDS)
                failed = True
            if not (status and ending):  # a job that was requested to end is started again with the pack
                new = folder / f".{index}.new"
                new.write_text(f"{status}\n")
                new.replace(folder / f"{index}.ended")
    return int(failed)


def is_over(path: Path) -> bool:
    """Return whether a job has succeeded or is reported; remove the record of any other end."""
    ended = path.with_suffix(".ended")
    if path.with_suffix(".reported").exists() or (ended.exists() and int(ended.read_text()) == 0):
        return True
    ended.unlink(missing_ok=True)
    return False


def success(folder: Path, index: int) -> Path:
    """Return the file that the step of a job creates if the job succeeds."""
    return folder / f"{index}.succeeded"


def step(job: dict, succeeded: Path, devices: str | None = None) -> list[str]:
    """Return the command of a job: a job step that shares the pack's GPU, with its own cores and memory limit.

    `devices`: the job's CUDA_VISIBLE_DEVICES, which replaces Slurm's value.
    """
    options = ["--ntasks=1", "--nodes=1", "--overlap", "--cpu-bind=q", f"--cpus-per-task={job['threads']}"]
    options += [f"--mem={job['mem_mb']}"] * bool(job["mem_mb"]) + [f"--gpus={job['gpu']}"] * bool(job["gpu"])
    seen = f"export CUDA_VISIBLE_DEVICES={devices}; " if devices else ""
    command = f"{seen}{job['command']} && touch {shlex.quote(str(succeeded))}"
    return ["srun", *options, f"--output={job['log']}", "--open-mode=append", "sh", "-c", command]


def environment(jobs: int) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in IDENTITY or not name.startswith(("SLURM_", "SRUN_", "SBATCH_"))
    }
    return kept | {"PACKED_JOBS": str(jobs)}


@contextlib.contextmanager
def multi_process_service():
    """Start NVIDIA's MPS and return its GPUs; if it cannot be started, the jobs take turns on the GPU.

    GPUs are named by UUID: the service numbers its GPUs from 0, so Slurm's index may not exist there.
    """
    control, folder = "nvidia-cuda-mps-control", tempfile.mkdtemp(prefix="mps-")
    places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
    devices = uuids()
    os.environ |= places | ({"CUDA_VISIBLE_DEVICES": devices} if devices else {})
    try:
        subprocess.run([control, "-d"], check=True)
        started = True
    except (OSError, subprocess.CalledProcessError) as problem:
        print(f"{control} cannot be started ({problem}); the jobs take turns on the GPU", flush=True)
        started = False
        stop_using(places)
    try:
        yield devices if started else None
    finally:
        if started:
            subprocess.run([control], input="quit\n", text=True)
            stop_using(places)
        shutil.rmtree(folder, ignore_errors=True)


def uuids() -> str | None:
    """Return this job's GPUs as a list of UUIDs, or None if nvidia-smi does not report them."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    known = dict(line.split(", ") for line in lines)
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return ",".join(known.get(device, device) for device in (listed.split(",") if listed else known))


def stop_using(places: dict[str, str]) -> None:
    for name in places:
        del os.environ[name]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mps", action="store_true")
    arguments = parser.parse_args()
    sys.exit(main(arguments.folder, arguments.mps))
