"""Several processes of one job: a signal reaches each, and the job, or its lock, outlives all of them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import train_glue
from hra_workflow.core import files, launcher, lock
from hra_workflow.core import job as jobs
from hra_workflow.training import checkpoints
from saved_states import check_same, delete_outputs
from support import ROOT, method

# Training with steps that take a while, and the job that starts two processes of it.
SCRIPT = """
import sys, time
sys.path.insert(0, {scripts!r})
import train_glue
from hra_workflow.training import callbacks
plain = callbacks.CheckpointOnSignal.on_step_end

def on_step_end(*arguments, **options):
    time.sleep(0.2)
    return plain(*arguments, **options)

callbacks.CheckpointOnSignal.on_step_end = on_step_end
train_glue.main()
"""
JOB = """
import json, sys
sys.path.insert(0, {scripts!r})
from hra_workflow.core import launcher, lock
job = json.load(open(sys.argv[1]))
with lock.held(job["params"]["scratch"]) as descriptor:
    launcher.torchrun({script!r}, job, 2, (descriptor,))
"""


def workers(script: Path) -> list[psutil.Process]:
    """List the training processes of a job file, including torchrun itself."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if alive and str(script.parent / "scratch/train_glue.job.json") in (process.info["cmdline"] or []):
            found.append(process)
    return found


def saves_on_sigterm(process: psutil.Process) -> bool:
    """Return whether a process handles SIGTERM, which would end it before its training has begun."""
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.full
def test_a_signal_reaches_every_process_and_a_job_waits_for_all(make_run):
    """Whoever is told to end or killed: Slurm's warning, the job, torchrun. The run ends as one that is left alone."""
    runs = [make_run(method("hra"), name, epochs=6) for name in ("disturbed", "alone")]
    scripts = str(ROOT / "workflow/scripts")
    for run in runs:
        job = run.train
        job["resources"]["gpu"] = 2
        files.write_json(run.folder / "job.json", job)
        (run.folder / "train.py").write_text(SCRIPT.format(scripts=scripts))

    def start(run) -> subprocess.Popen:
        code = JOB.format(scripts=scripts, script=str(run.folder / "train.py"))
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'workflow'}"}
        return subprocess.Popen([sys.executable, "-c", code, str(run.folder / "job.json")], env=environment)

    run = runs[0]
    job_file, scratch = run.folder / "job.json", run.folder / "scratch"

    def saved() -> int:
        found = checkpoints.newest(scratch)
        return checkpoints.step_of(found) if found else 0

    def resumed() -> subprocess.Popen:
        """Start the job and wait until both of its processes train from the last checkpoint."""
        process, last, attempts = start(run), saved(), scratch / "attempts.json"
        while not attempts.exists() or (files.read_json(attempts)["resumed_from"] or [0])[-1] != last:
            time.sleep(0.1)
        while len(workers(job_file)) != 3 or not all(map(saves_on_sigterm, workers(job_file))):
            time.sleep(0.1)
        return process

    # Slurm sends its warning to all processes of a step: to torchrun too, which would die of it.
    process = resumed()
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children()]:
        one.send_signal(signal.SIGUSR1)
    assert process.wait() != 0 and workers(job_file) == []
    assert "signal SIGUSR1" in json.loads((scratch / "train.error.json").read_text())["error"]
    first = saved()
    assert first > 0

    # torchrun is killed: its job fails, but not before those that torchrun started have saved a checkpoint and ended.
    process = resumed()
    (torchrun,) = psutil.Process(process.pid).children()
    torchrun.kill()
    assert process.wait() != 0 and workers(job_file) == []
    second = saved()
    assert second > first

    # The job's process is killed: those that it started finish the run, which the next one waits for.
    process = resumed()
    process.kill()
    process.wait()
    assert workers(job_file)
    with lock.held(scratch):
        assert Path(run.train["output"]["record"]).exists()

    assert [process.wait() for process in map(start, runs)] == [0, 0]
    found, expected = (files.read_json(one.train["output"]["record"]) for one in runs)
    assert found["resumed_from"] == [first, second, found["steps"]] and found["attempts"] == 4
    check_same(found | {"attempts": 1, "resumed_from": []}, run.weights, expected, runs[1].weights)


@pytest.mark.parametrize(
    ("statuses", "fails"), [([0], False), ([launcher.KILLED, 0], False), ([1], True), ([launcher.KILLED] * 2, True)]
)
def test_a_job_of_another_command_that_kills_itself_is_continued_once_and_fails_only_if_that_fails(
    tmp_path, monkeypatch, statuses, fails
):
    left, words = list(statuses), []
    monkeypatch.setattr(
        launcher.subprocess, "run", lambda given, **_: words.append(given) or SimpleNamespace(returncode=left.pop(0))
    )
    job = {"rule": "train_glue", "params": {"scratch": str(tmp_path)}}
    with pytest.raises(launcher.ProcessesFailed) if fails else contextlib.nullcontext():
        launcher.run_with("profiler --card 'any one'", "train_glue.py", job)
    names = [str(tmp_path / f"train_glue.{name}.json") for name in ("job", "out")]
    assert left == [] and words == [["profiler", "--card", "any one", "train_glue.py", *names]] * len(statuses)
    assert files.read_json(names[0]) == job


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


def hold(folder: Path, *arguments: str) -> subprocess.Popen:
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
    holder = hold(tmp_path / "run")
    threading.Timer(0.3, holder.kill).start()
    (said,) = taken(tmp_path / "run")
    assert f"{tmp_path}/.run.lock is locked by process {holder.pid} on " in said and "Waiting until" in said
    assert taken(tmp_path / "run") == [] and holder.wait() == -signal.SIGKILL


def test_a_lock_is_held_as_long_as_a_process_that_has_inherited_it_runs(tmp_path):
    holder, begun = hold(tmp_path / "run", "and a child"), time.monotonic()
    holder.kill()
    holder.wait()
    (said,) = taken(tmp_path / "run")
    assert "or by a process that it has started" in said and time.monotonic() - begun > 0.5


def test_in_a_scheduler_s_job_waiting_ends_with_an_error(tmp_path):
    with lock.held(tmp_path / "run"), pytest.raises(lock.Locked, match=r"by process .* same command again when it has"):
        taken(tmp_path / "run", patience=0.1)


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

    holder = hold(run.folder / "scratch")
    threading.Timer(0.3, holder.kill).start()
    for _ in range(2):
        jobs.script(train, trains=True)()
    assert capsys.readouterr().out.count(f"is locked by process {holder.pid}") == 1 and holder.wait()
    assert seen == [(1, []), (2, [12])]
