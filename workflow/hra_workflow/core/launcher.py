"""The start of one process per GPU with torchrun: signals reach every process, and all end with their starter."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import psutil

from hra_workflow.core import files
from hra_workflow.core.process_identity import SNAKEMAKE, STARTED_BY, is_orphaned, processes_inheriting, started_by_this

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Time to save a training checkpoint before a process is ended.
GRACE_SECONDS = 120
# The command that runs the jobs on GPUs instead of this Python, as `COMMAND SCRIPT JOB.json OUT.json`.
RUN_JOBS_WITH = "HRA_RUN_JOBS_WITH"
KILLED = os.EX_TEMPFAIL  # exit status of such a command if the job has killed itself, as planned


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
    environment = started_by_this() | {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS)}
    handlers = {number: signal.getsignal(number) for number in PASSED_ON}
    # Slurm sends SIGUSR1 to every process of a job; torchrun inherits the setting to ignore it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    agent = subprocess.Popen(command, env=os.environ | environment, start_new_session=True)

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
        # If torchrun was killed, its processes end by themselves.
        for process in psutil.wait_procs(processes_inheriting(STARTED_BY, environment[STARTED_BY]), GRACE_SECONDS)[1]:
            process.kill()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run_with(command: str, script: str, job: dict) -> None:
    """Run the script by a command of HRA_RUN_JOBS_WITH; raise ProcessesFailed if it fails.

    A training that kills itself (`kill_at_step`) resumes in a second process. `script`: its path in the workflow's
    folder, from which the process imports it.
    """
    job_file, result = (Path(job["params"]["scratch"], f"{job['rule']}.{name}.json") for name in ("job", "out"))
    files.write_json(job_file, job)
    words, environment = [*shlex.split(command), script, str(job_file), str(result)], os.environ | started_by_this()
    if (status := subprocess.run(words, env=environment).returncode) == KILLED:
        status = subprocess.run(words, env=environment).returncode
    if status:
        raise ProcessesFailed(f"{words[0]} ended with status {status}")


def name_this_process(main: bool) -> None:
    """Make the jobs that this Snakemake starts, and their processes, end with it.

    main: this is the Snakemake that the user has started, which its jobs recognise on any machine, not the Snakemake
    of a single job.
    """
    os.environ.pop(STARTED_BY, None)
    os.environ |= started_by_this()
    if main:
        os.environ[SNAKEMAKE] = uuid.uuid4().hex


def end_with_starters(grace: float | None = None) -> None:
    """Send this process SIGTERM when one of its starters has ended: its parent, torchrun, the job, or Snakemake.

    Training then saves a checkpoint. A process blocked in a collective operation cannot, and is ended `grace` seconds
    later. PR_SET_PDEATHSIG, a signal at the death of the parent, is not used: the kernel sends it when the thread that
    started the process ends, and Snakemake's threads end early.
    """
    parent = os.getppid()

    def watch():
        while os.getppid() == parent and not is_orphaned():
            time.sleep(1)
        print("The process that started this one has ended: stopping.", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        if grace:
            time.sleep(grace)
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
