"""Run a job in this process, in one per GPU with torchrun, or by a command of the user.

Signals reach every process of torchrun, and the job ends after all of them.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from hra_workflow.core import files, gpus

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Time to save a training checkpoint before a process is ended.
GRACE_SECONDS = 120
# The command that runs the jobs on GPUs instead of this Python, as `COMMAND SCRIPT JOB.json OUT.json`.
RUN_JOBS_WITH = "HRA_RUN_JOBS_WITH"
KILLED = os.EX_TEMPFAIL  # exit status of such a command if the job has killed itself, as planned


class ProcessesFailed(Exception):
    """Raised if at least one process failed and recorded its error itself."""


def run_on_gpus(main: Callable[[dict], None], job: dict, script: str, lock: int | None) -> None:
    """Run `main` here, or the script in one process per GPU, each with the lock, on GPUs that are free for the job."""
    gpus.hide_unrequested(job)
    with gpus.reserved(gpus.to_reserve(job), gpus.runs_per_gpu(job)):
        if gpus.processes(job) == 1:
            main(job)
        else:
            torchrun(script, job, gpus.processes(job), () if lock is None else (lock,))


def torchrun(script: str, job: dict, count: int, inherited: tuple[int, ...] = ()) -> None:
    """Run the script in `count` processes. Raise ProcessesFailed unless all succeed.

    inherited: descriptors of locks. If this process is killed, those of torchrun train to the end, and the next job
    waits for them. torchrun kills its processes 30 seconds after a signal that it handles, and is itself killed by one
    that it does not handle. Therefore it runs in its own session, which the terminal's Ctrl-C does not reach, and
    signals are forwarded to the processes directly.
    """
    job_file = Path(job["params"]["scratch"]).absolute() / f"{job['rule']}.job.json"
    files.write_json(job_file, job)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", script, str(job_file)]
    environment = os.environ | {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS)}
    handlers = {number: signal.getsignal(number) for number in PASSED_ON}
    # Slurm sends SIGUSR1 to every process of a job; torchrun inherits the setting to ignore it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    agent = subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=inherited)

    def pass_on(number, _):
        workers = []
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = psutil.Process(agent.pid).children()
        for process in workers or [agent]:
            process.send_signal(number if workers else signal.SIGTERM)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    try:
        if agent.wait():
            raise ProcessesFailed(f"torchrun ended with status {agent.returncode}")
    finally:
        # If torchrun was killed, its processes save a checkpoint, unless one blocks in a collective operation.
        left = processes_of(job_file)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(left, GRACE_SECONDS)[1]:
            process.kill()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def processes_of(job_file: Path) -> list[psutil.Process]:
    """List the processes that run a job file, torchrun included."""
    running = psutil.process_iter(["cmdline", "status"])
    return [
        process
        for process in running
        if str(job_file) in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def run_with(command: str, script: str, job: dict) -> None:
    """Run the script by a command of HRA_RUN_JOBS_WITH; raise ProcessesFailed if it fails.

    A training that kills itself (`kill_at_step`) resumes in a second process. `script`: its path in the workflow's
    folder, from which the process imports it.
    """
    job_file, result = (Path(job["params"]["scratch"], f"{job['rule']}.{name}.json") for name in ("job", "out"))
    files.write_json(job_file, job)
    words = [*shlex.split(command), script, str(job_file), str(result)]
    if (status := subprocess.run(words).returncode) == KILLED:
        status = subprocess.run(words).returncode
    if status:
        raise ProcessesFailed(f"{words[0]} ended with status {status}")
