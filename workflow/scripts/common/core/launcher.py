"""Start one process per GPU with torchrun: signals reach every process, and no process outlives its job."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from common.core import files

# Environment variable of torchrun's processes with the process ID of the job.
JOB_PROCESS = "HRA_JOB_PROCESS"
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Time to save a training checkpoint before a process is ended.
GRACE_SECONDS = 120


class ProcessesFailed(Exception):
    """Raised if at least one process failed and recorded its error itself."""


def torchrun(script: str, job: dict, count: int) -> None:
    """Run the script in `count` processes. Raise ProcessesFailed unless all succeed.

    torchrun kills its processes 30 seconds after a signal that it handles, and is itself killed by one that it does not
    handle. Therefore it runs in its own session, which the terminal's Ctrl-C does not reach, and signals are forwarded
    to the processes directly.
    """
    job_file = Path(job["params"]["scratch"]) / f"{job['rule']}.job.json"
    files.write_json(job_file, job)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", script, str(job_file)]
    environment = {JOB_PROCESS: str(os.getpid()), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS)}
    handlers = {number: signal.getsignal(number) for number in PASSED_ON}
    # Slurm sends SIGUSR1 to every process of a job; torchrun inherits the setting to ignore it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    agent = subprocess.Popen(command, env=os.environ | environment, start_new_session=True)

    def pass_on(number, _):
        workers = psutil.Process(agent.pid).children()
        for process in workers or [agent]:
            process.send_signal(number if workers else signal.SIGTERM)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    try:
        if agent.wait():
            raise ProcessesFailed(f"torchrun ended with status {agent.returncode}")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def end_with_the_job() -> None:
    """Stop this process, if torchrun started it, when torchrun or the job's own process has ended.

    SIGTERM first, so that training saves a checkpoint; a process blocked in a collective operation cannot react to that
    and is ended GRACE_SECONDS later.
    """
    if JOB_PROCESS not in os.environ:
        return
    try:
        others = [psutil.Process(pid) for pid in (os.getppid(), int(os.environ[JOB_PROCESS]))]
    except psutil.NoSuchProcess:
        raise SystemExit("the job of this process has ended") from None

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
