"""Run the jobs of a pack, which is one Slurm job, as job steps: at the same time, or one after the other.

    python run_pack.py FOLDER [--mps]

FOLDER/pack.json lists the jobs, and how many run `at_once`. Each has its own memory limit, one after the other also its
own time limit, and ends independently: {index}.ended is its exit status. If Slurm requeues the pack, only jobs that
have neither succeeded nor been reported as failed ({index}.reported) start again. The environment variable PACKED_JOBS
of each job is the number of jobs that run at once.

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
    pack = json.loads((folder / "pack.json").read_text())
    waiting = [index for index in range(len(pack["jobs"])) if not is_over(folder / str(index))]
    ending = 0  # the signal with which Slurm has requested the end

    def end(number, _):
        nonlocal ending
        ending = number
        for process in steps.values():
            process.send_signal(number)

    steps: dict[int, subprocess.Popen] = {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, end)
    failed = False
    with multi_process_service() if mps else contextlib.nullcontext() as devices:
        while steps or waiting:
            if waiting and len(steps) < pack["at_once"] and not ending:
                index = waiting.pop(0)
                success(folder, index).unlink(missing_ok=True)
                command = step(pack["jobs"][index], success(folder, index), devices)
                steps[index] = subprocess.Popen(command, env=environment(pack["at_once"]))
                if ending:  # since the test above
                    steps[index].send_signal(ending)
                continue
            if not steps:
                return 1  # jobs that have not started are started again with the pack
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
    """Return the command of a job: a job step that has the pack's GPU, and its own cores and limits.

    `devices`: the job's CUDA_VISIBLE_DEVICES, which replaces Slurm's value.
    """
    options = ["--ntasks=1", "--nodes=1", "--overlap", "--cpu-bind=q"]
    values = {"cpus-per-task": job["cpus"], "time": job["minutes"], "mem": job["mem_mb"], "gpus": job["gpu"]}
    options += [f"--{name}={value}" for name, value in values.items() if value]
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
