"""Several processes of one job: a signal reaches each, and none outlives the job."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from common.core import files
from common.training import checkpoints
from support import ROOT, method

SCRIPT = ROOT / "workflow/scripts/train_glue.py"
JOB = """
import json, sys
sys.path.insert(0, {scripts!r})
from common.core import launcher
launcher.torchrun({script!r}, json.load(open(sys.argv[1])), 2)
"""


def workers(script: Path) -> list[psutil.Process]:
    """List the training processes of a job file, including torchrun itself."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if alive and str(script.parent / "scratch/train_glue.job.json") in (process.info["cmdline"] or []):
            found.append(process)
    return found


def wait_until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def saves_on_sigterm(process: psutil.Process) -> bool:
    """Return whether a process handles SIGTERM, which would end it before its training has begun."""
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
def test_a_signal_reaches_every_process_and_none_outlives_its_job(make_run):
    run = make_run(method("hra"), epochs=4000)
    job = run.train
    job["resources"]["gpu"] = 2
    job_file, scratch = run.folder / "job.json", Path(job["params"]["scratch"])
    files.write_json(job_file, job)
    code = JOB.format(scripts=str(SCRIPT.parent), script=str(SCRIPT))

    def start() -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, "-c", code, str(job_file)], env=environment)

    def saved() -> int:
        found, problems = checkpoints.newest(scratch)
        assert problems == []
        return checkpoints.step_of(found) if found else 0

    # Slurm sends its warning to all processes of a step: to torchrun too, which would die of it.
    process = start()
    wait_until(lambda: (scratch / "best").exists())
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children()]:
        one.send_signal(signal.SIGUSR1)
    assert process.wait(120) != 0 and workers(job_file) == []
    assert "signal SIGUSR1" in json.loads((scratch / "train.error.json").read_text())["error"]
    first = saved()
    assert first > 0

    # The job's process is killed: those that it started save their state and end.
    process = start()
    wait_until(lambda: len(workers(job_file)) == 3)
    attempts = scratch / "attempts.json"
    wait_until(lambda: first in files.read_json(attempts)["resumed_from"])
    wait_until(lambda: all(map(saves_on_sigterm, workers(job_file))))
    process.kill()
    process.wait()
    wait_until(lambda: workers(job_file) == [])
    assert saved() > first
