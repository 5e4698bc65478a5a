"""A test that hangs is a failure within its time, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from timeouts import kill_processes

HANGS = """
import subprocess, sys
import pytest

SUSPEND = "parent = psutil.Process().parent(); parent.suspend(); time.sleep(3); parent.resume()"  # beyond the limit
SLEEP = [sys.executable, "-c", f"import psutil, subprocess, time; {SUSPEND}; subprocess.run(['sleep', '1001'])"]

@pytest.fixture
def hung():
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE) as process:  # its end waits for the process
        process.stdout.read()

def test_in_a_fixture(hung): pass
def test_after_it(): pass
"""


@pytest.mark.full
def test_a_hung_fixture_fails_and_the_next_test_runs(tmp_path):
    seconds = f"1001.{os.getpid()}"
    (tmp_path / "test_hangs.py").write_text(HANGS.replace("1001", seconds))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {Path(__file__).parent}\ntimeout = 2\n")
    command = [sys.executable, "-m", "pytest", "-p", "timeouts", "-n", "1", "test_hangs.py"]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert "1 passed, 1 error" in text and "from pytest-timeout" in text and "process.stdout.read()" in text, text
    assert ["sleep", seconds] not in [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]


def test_a_process_that_is_just_being_started_is_killed(request, monkeypatch):
    seen, environ = set(), psutil.Process.environ

    def empty_at_first(process):
        if process.pid in seen:
            return environ(process)
        seen.add(process.pid)
        return {}

    with subprocess.Popen(["sleep", "1002"]) as process:
        monkeypatch.setattr(psutil.Process, "environ", empty_at_first)
        kill_processes(request.node.nodeid)
        left = process.poll() is None
        process.kill()
    assert not left
