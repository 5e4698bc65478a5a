"""One process per folder that jobs resume in: it waits for another one, whose lock is free however that one ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import train_glue
from hra_workflow.core import files, job, lock
from saved_states import delete_outputs
from support import ROOT, method

HOLDER = """
import subprocess, sys, time
from hra_workflow.core import lock
with lock.held(sys.argv[1]) as descriptor:
    if sys.argv[2:]:
        subprocess.Popen(["sleep", "1"], pass_fds=[descriptor])
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "LOOK", 0.02)


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    command = [sys.executable, "-c", HOLDER, str(folder), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "held\n"
    return process


def taken(folder: Path, patience: float | None = None) -> list[str]:
    said: list[str] = []
    with lock.held(folder, said.append, patience):
        pass
    return said


def test_the_lock_of_a_process_that_was_killed_is_free_at_once(tmp_path):
    holder = start(tmp_path / "run")
    threading.Timer(0.3, holder.kill).start()
    (said,) = taken(tmp_path / "run")
    assert f"{tmp_path}/.run.lock is locked by process {holder.pid} on " in said and "Waiting until" in said
    assert taken(tmp_path / "run") == [] and holder.wait() == -signal.SIGKILL


def test_a_lock_is_held_as_long_as_a_process_that_has_inherited_it_runs(tmp_path):
    holder, begun = start(tmp_path / "run", "and a child"), time.monotonic()
    holder.kill()
    holder.wait()
    (said,) = taken(tmp_path / "run")
    assert "or by a process that it has started" in said and time.monotonic() - begun > 0.5


def test_in_a_scheduler_s_job_waiting_ends_with_an_error(tmp_path):
    with lock.held(tmp_path / "run"), pytest.raises(lock.Locked, match=r"by process .* same command again when it has"):
        taken(tmp_path / "run", patience=0.1)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def unsupported(*_, **__):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock, "lock_descriptor", unsupported)
    (said,) = taken(tmp_path / "run")
    assert "cannot be locked (Function not implemented): do not start the same run twice" in said


def test_of_two_processes_that_train_a_run_the_second_waits_and_trains_nothing(make_run, monkeypatch, capsys):
    """Both are started by hand, as `python train_glue.py job.json`."""
    run = make_run(method("hra"))
    files.write_json(run.folder / "job.json", run.train)
    monkeypatch.setattr(sys, "argv", ["train_glue.py", str(run.folder / "job.json")])
    seen = []

    def train(given: dict) -> None:
        with pytest.raises(lock.Locked):
            taken(Path(given["params"]["scratch"]), patience=0)
        train_glue.main(given)
        record = files.read_json(given["output"]["record"])
        seen.append((record["attempts"], record["resumed_from"]))
        delete_outputs(given)  # as the second one's Snakemake

    holder = start(run.folder / "scratch")
    threading.Timer(0.3, holder.kill).start()
    for _ in range(2):
        job.script(train, trains=True)()
    assert capsys.readouterr().out.count(f"is locked by process {holder.pid}") == 1 and holder.wait()
    assert seen == [(1, []), (2, [12])]
