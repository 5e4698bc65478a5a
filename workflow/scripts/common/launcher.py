"""One process per GPU, by torchrun on the same script: signals reach every process, and none outlives its job."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from common import files

# Names the process of the job, in the environment of torchrun's.
JOB_PROCESS = "HRA_JOB_PROCESS"
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# For the state to be written; then the process ends anyhow.
GRACE_SECONDS = 120


class ProcessesFailed(Exception):
    """At least one process ended with an error, which it has written down itself."""


def torchrun(script: str, job: dict, count: int) -> None:
    """Run the script in `count` processes. `ProcessesFailed` unless all succeed.

    torchrun answers a signal by a SIGKILL 30 seconds later, and dies of those that it does not handle. So it runs in
    a session of its own, out of the terminal's reach, and signals go past it to the processes.
    """
    job_file = Path(job["params"]["scratch"]) / f"{job['rule']}.job.json"
    files.write_json(job_file, job)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", script, str(job_file)]
    environment = {JOB_PROCESS: str(os.getpid()), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS)}
    # Slurm sends it to torchrun too, which inherits that it is ignored.
    before = {signal.SIGUSR1: signal.signal(signal.SIGUSR1, signal.SIG_IGN)}
    torchrun = subprocess.Popen(command, env=os.environ | environment, start_new_session=True)

    def pass_on(number, _):
        workers = psutil.Process(torchrun.pid).children()
        for process in workers or [torchrun]:
            process.send_signal(number if workers else signal.SIGTERM)

    before = {number: signal.signal(number, pass_on) for number in PASSED_ON} | before
    try:
        if torchrun.wait():
            raise ProcessesFailed(f"torchrun ended with status {torchrun.returncode}")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_the_job() -> None:
    """In a process that torchrun has started: stop when torchrun or the job's own process is gone.

    By SIGTERM, so that a training saves its state; a process that waits for another one never gets to see it.
    """
    if JOB_PROCESS not in os.environ:
        return
    try:
        others = [psutil.Process(pid) for pid in (os.getppid(), int(os.environ[JOB_PROCESS]))]
    except psutil.NoSuchProcess:
        raise SystemExit("the job of this process is gone") from None

    def watch():
        while all(alive(process) for process in others):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
