"""A test that hangs is a failure within its time, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

HANGS = """
import subprocess, sys, time
import pytest

SLEEP = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '1001'])"]

@pytest.fixture
def hung():
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE) as process:  # its end waits for the process
        process.stdout.read()

def test_in_a_fixture(hung): pass
def test_after_it(): pass
"""


@pytest.mark.slow
def test_a_hung_fixture_fails_and_the_next_test_runs(tmp_path):
    (tmp_path / "test_hangs.py").write_text(HANGS)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {Path(__file__).parent}\ntimeout = 2\n")
    command = [sys.executable, "-m", "pytest", "-p", "timeouts", "-n", "1", "test_hangs.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "1 passed, 1 error" in done.stdout and "from pytest-timeout" in done.stdout, done.stdout
    assert "process.stdout.read()" in done.stdout
    left = [process.pid for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "1001"]]
    assert left == []
