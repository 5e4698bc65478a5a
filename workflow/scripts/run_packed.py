"""Run the training runs of a pack, which is one Slurm job, as job steps at the same time that share its GPU.

    python workflow/scripts/run_packed.py FOLDER

FOLDER/pack.json lists the runs (common/planning/slurm_packs.py). Each has its own memory limit and ends for itself:
{index}.ended is its exit status. If Slurm requeues the job, only those runs start again that have not succeeded and
were not yet reported as failed ({index}.taken).

With HRA_MPS=1, NVIDIA's multi-process service runs during the job.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.core import files, gpus

# What names the allocation; the other variables describe the batch step and would be options of the next one.
IDENTITY = ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CLUSTER_NAME", "SLURM_SUBMIT_DIR", "SLURM_SUBMIT_HOST")
# When Slurm ends the job, the runs end first; this process is told, or killed, within these seconds.
GRACE_SECONDS = 1


def main(folder: Path) -> int:
    """Run all runs of the pack and return the exit status of the job: 0 if all have succeeded."""
    runs = files.read_json(folder / "pack.json")["runs"]
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
    with multi_process_service():
        for index, run in enumerate(runs):
            if not is_over(folder / str(index)):
                success(folder, index).unlink(missing_ok=True)
                command = step(run, success(folder, index))
                steps[index] = subprocess.Popen(command, env=environment(len(runs)))
        while steps:
            process, status = os.wait()
            index = next((index for index, one in steps.items() if one.pid == process), None)
            if index is None:
                continue
            del steps[index]
            # srun's status is 0 also if Slurm has killed the step.
            status = os.waitstatus_to_exitcode(status) or int(not success(folder, index).exists())
            success(folder, index).unlink(missing_ok=True)
            if status:
                time.sleep(GRACE_SECONDS)
                failed = True
            if not (status and ending):  # a run that was told to end is started again with the job
                files.write_text(folder / f"{index}.ended", f"{status}\n")
    return int(failed)


def is_over(path: Path) -> bool:
    """Return whether a run has succeeded or is reported; forget another end."""
    ended = path.with_suffix(".ended")
    if path.with_suffix(".taken").exists() or (ended.exists() and int(ended.read_text()) == 0):
        return True
    ended.unlink(missing_ok=True)
    return False


def success(folder: Path, index: int) -> Path:
    """Return the file that the step of a run creates if the run succeeds."""
    return folder / f"{index}.succeeded"


def step(run: dict, succeeded: Path) -> list[str]:
    """Return the command of a run: a job step that shares the job's GPU, with its own cores and memory limit."""
    options = ["--ntasks=1", "--nodes=1", "--overlap", "--cpu-bind=q", f"--cpus-per-task={run['threads']}"]
    options += [f"--mem={run['mem_mb']}"] * bool(run["mem_mb"]) + [f"--gpus={run['gpu']}"] * bool(run["gpu"])
    command = f"{run['command']} && touch {shlex.quote(str(succeeded))}"
    return ["srun", *options, f"--output={run['log']}", "--open-mode=append", "sh", "-c", command]


def environment(runs: int) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in IDENTITY or not name.startswith(("SLURM_", "SRUN_", "SBATCH_"))
    }
    return kept | {gpus.RUNS: str(runs)}


@contextlib.contextmanager
def multi_process_service():
    """Start NVIDIA's MPS for this job if HRA_MPS=1; without it, the runs take turns on the GPU."""
    if os.environ.get("HRA_MPS") != "1":
        yield
        return
    control, folder = "nvidia-cuda-mps-control", tempfile.mkdtemp(prefix="hra-mps-")
    places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
    os.environ |= places
    try:
        subprocess.run([control, "-d"], check=True)
        started = True
    except (OSError, subprocess.CalledProcessError) as problem:
        print(f"HRA_MPS=1: {control} cannot be started ({problem}); the runs take turns on the GPU", flush=True)
        started = False
        stop_using(places)
    try:
        yield
    finally:
        if started:
            subprocess.run([control], input="quit\n", text=True)
            stop_using(places)
        shutil.rmtree(folder, ignore_errors=True)


def stop_using(places: dict[str, str]) -> None:
    for name in places:
        del os.environ[name]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    raise SystemExit(main(Path(sys.argv[1])))
