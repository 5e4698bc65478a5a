"""One process per run: who holds a lease, when it is taken over, and what a process that has lost it may write."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from hra_workflow.core import files, lease, process_identity
from hra_workflow.core.errors import JobError
from hra_workflow.training import checkpoints, trackers
from support import ROOT, require

TWO_NODES = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
SOON = {"LOOK": 0.02, "EXPIRY": 1, "RENEWAL": 0.05}
HOLDER = f"""
import os, socket, sys, time
sys.path.insert(0, {str(ROOT / "workflow/scripts")!r})
from pathlib import Path
from hra_workflow.core import files, lease
lease.__dict__.update({SOON})
if os.getpid() == 1:
    socket.sethostname("node2")
with lease.held([Path(sys.argv[1])], print):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    files.write_text(sys.argv[1] + ".written", "by the holder")
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for name, value in SOON.items():
        monkeypatch.setattr(lease, name, value)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def held_by(path: Path, **changes) -> None:
    """Write the lease of this process, or of one that differs."""
    holder = process_identity.this_process() | {"since": "2026-01-01T00:00:00Z", "slurm": None} | changes
    own = f"pid={holder['pid']}\nhost={holder['host']}\nmode=lease\ntoken=another\nduration={lease.EXPIRY}\n"
    path.with_name("new").write_text(f"filelock/2\n{own}holder={json.dumps(holder)}\n")
    path.with_name("new").replace(path)


def take(path: Path, patience: float | None = None) -> list[str]:
    """Take a lease, return it, and return what was said."""
    said: list[str] = []
    with lease.held([path], said.append, patience):
        lease.check()
    return said


def start(path: Path, seconds: float, before=()) -> subprocess.Popen:
    process = subprocess.Popen(
        [*before, sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def ended() -> int:
    """Return the ID of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("changes", ["ended", {"start": "1"}, {"boot": "before"}], ids=["ended", "reused", "rebooted"])
def test_a_dead_holder_is_replaced_at_once(tmp_path, ended, changes, monkeypatch):
    monkeypatch.setattr(lease, "EXPIRY", 10**9)
    held_by(path := tmp_path / "lease", **({"pid": ended} if changes == "ended" else changes))
    assert take(path) == [] and list(tmp_path.iterdir()) == []


def test_a_living_holder_is_waited_for_and_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    holder = start(path := tmp_path / "lease", 0.5)
    (said,) = take(path)
    assert holder.wait() == 0 and f"Process {holder.pid} on " in said and "has been writing this since 2" in said
    assert "run `scancel 7`" in said
    held_by(path)
    assert f"run `kill {os.getpid()}` on" in lease.described(path, path.read_bytes())


def test_a_killed_holder_is_dead_when_the_processes_that_it_started_are(tmp_path):
    code = HOLDER.replace("time.sleep", "os.spawnlp(os.P_WAIT, 'sleep', 'sleep', '0.7'); time.sleep")
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lease"), "9"], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    while not (left := process_identity.processes_inheriting(lease.HELD, str(tmp_path))):
        time.sleep(0.02)
    holder.kill()
    holder.wait()
    (said,) = take(tmp_path / "lease")
    assert f"Process {left[0].pid} on" in said and not process_identity.processes_inheriting(lease.HELD, str(tmp_path))


def test_a_suspended_holder_is_replaced_and_writes_nothing_any_more(tmp_path):
    """Such as a job that Slurm has suspended, or one whose Snakemake was killed with it."""
    holder = start(path := tmp_path / "lease", 0.5)
    holder.send_signal(signal.SIGSTOP)
    with lease.held([path], print):
        holder.send_signal(signal.SIGCONT)
        assert holder.wait() == 1 and not Path(f"{path}.written").exists()
        lease.check()


def test_in_a_scheduler_s_job_waiting_ends_with_an_error_that_is_not_retried(tmp_path):
    held_by(path := tmp_path / "lease")
    with pytest.raises(JobError, match=r"has been writing this since 2026.*same command again when it") as caught:
        take(path, patience=0.1)
    assert caught.value.final and "another" in path.read_text()


@pytest.mark.parametrize("content", [b"", b"{", b"filelock/2\npid=3\nmode=le", b"\xff\x00"])
def test_an_incomplete_lease_is_replaced_if_nobody_renews_it(tmp_path, content):
    (path := tmp_path / "lease").write_bytes(content)
    (said,) = take(path)
    assert "does not name the process that holds it yet" in said and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"filelock/2\npid=3\nmode=le"])
def test_a_lease_whose_holder_has_not_written_yet_is_held_and_not_called_damaged(tmp_path, monkeypatch, content):
    """Such as on a file system on which writing takes seconds."""
    monkeypatch.setattr(lease, "EXPIRY", 60)
    (path := tmp_path / "lease").write_bytes(content)
    with pytest.raises(JobError, match=r"lease exists, but does not name the process that holds it yet; .* again when"):
        take(path, patience=0.1)
    assert path.read_bytes() == content


@pytest.mark.parametrize("room", [0, 200])
def test_a_full_disk_leaves_no_damaged_lease(tmp_path, room):
    """A limit on the size of files stands for it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            take(tmp_path / "lease")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_on_another_node_the_holder_lives_as_long_as_it_renews_the_lease(tmp_path):
    """Two nodes are simulated by namespaces: another host name, and process IDs that mean nothing here."""
    allowed = subprocess.run([*TWO_NODES, "true"], capture_output=True).returncode == 0
    require(allowed, "needs root, or a kernel that allows namespaces (unshare --uts --pid)")
    holder = start(path := tmp_path / "lease", 60, TWO_NODES)
    with pytest.raises(JobError, match="on node2 has been writing"):
        take(path, patience=3 * lease.EXPIRY)
    holder.kill()
    holder.wait()
    take(path)


def test_a_process_of_another_machine_with_this_one_s_name_is_not_taken_for_dead(tmp_path, ended):
    held_by(path := tmp_path / "lease", pid=ended, machine="another")
    assert not lease.is_dead(path.read_bytes()) and len(take(path)) == 1  # when it had expired


def contend(path: Path, log: Path, crash: bool) -> None:
    lease.LOOK, lease.EXPIRY = 0.002, 10**9
    for turn in range(6):
        with lease.held([path], lambda text: None):
            with log.open("a") as stream:
                stream.write(f"{os.getpid()} in\n")
            time.sleep(0.002)
            with log.open("a") as stream:
                stream.write(f"{os.getpid()} out\n")
            if crash and turn == 3:
                os._exit(0)


def test_of_several_successors_one_wins(tmp_path, ended):
    """Eight processes contend for the lease of a dead one; four of them end without returning it."""
    held_by(path := tmp_path / "lease", pid=ended)
    context = get_context("fork")
    contenders = [context.Process(target=contend, args=(path, tmp_path / "log", n % 2 == 0)) for n in range(8)]
    for one in contenders:
        one.start()
    for one in contenders:
        one.join()
        assert one.exitcode == 0
    lines = (tmp_path / "log").read_text().split("\n")[:-1]
    assert len(lines) == 2 * (4 * 6 + 4 * 4)
    for entry, leave in zip(lines[::2], lines[1::2], strict=True):
        assert entry.replace(" in", " out") == leave
    assert not list(tmp_path.glob("lease?*"))


def test_who_has_lost_the_lease_writes_nothing(tmp_path, monkeypatch):
    """Also when it is lost in the middle of writing."""
    monkeypatch.setattr(lease, "RENEWAL", 60)  # in this process, the renewing thread must not find out
    monkeypatch.setattr(lease, "EXPIRY", 120)
    scratch, path = tmp_path / "scratch", tmp_path / ".scratch.lease"
    with lease.held([path], print):
        checkpoint = checkpoints.unsealed_folder(scratch) / "checkpoint-3"
        checkpoint.mkdir(parents=True)
        (checkpoint / "optimizer.pt").touch()
        files.write_json(scratch / "attempts.json", 1)
        before = sorted(scratch.iterdir())
        with pytest.raises(lease.LeaseLost, match="another process"), files.replacing_folder(scratch / "best"):
            held_by(path)
        for write in (
            lambda: files.write_json(scratch / "attempts.json", 2),
            lambda: checkpoints.seal(checkpoint),
            lambda: checkpoints.claim(scratch, {}),
            lambda: checkpoints.remove(scratch),
            lambda: trackers.Tracked.on_log(None, None, None, None, {"loss": 1.0}),
        ):
            with pytest.raises(lease.LeaseLost):
                write()
    assert {path for path in scratch.iterdir() if not path.name.endswith(".tmp")} == set(before)
    assert files.read_json(scratch / "attempts.json") == 1
    assert "another" in path.read_text()
    files.write_json(scratch / "attempts.json", 3)  # without a lease, as in tests, everything is written


def test_who_has_lost_the_lease_is_ended(tmp_path):
    holder = start(path := tmp_path / "lease", 60)
    held_by(path)
    assert holder.wait() == 1 and "another" in path.read_text()
