"""One process per run: who holds a lease, when it is taken over, and what a process that has lost it may write."""

import json
import os
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
HOLDER = f"""
import os, socket, sys, time
sys.path.insert(0, {str(ROOT / "workflow/scripts")!r})
from pathlib import Path
from hra_workflow.core import lease
lease.RENEWAL = 0.05
if os.getpid() == 1:
    socket.sethostname("node2")
with lease.held([Path(sys.argv[1])], print):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for name, value in {"LOOK": 0.02, "EXPIRY": 20, "ASK": 5, "RENEWAL": 0.05}.items():
        monkeypatch.setattr(lease, name, value)
    for name in ("SLURM_JOB_ID", "SLURM_CLUSTER_NAME", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def held_by(path: Path, **changes) -> bytes:
    """Write the lease of this process, or of one that differs."""
    other = {"token": "another", "since": "2026-01-01T00:00:00Z", "slurm": None}
    content = json.dumps(process_identity.this_process() | other | changes).encode()
    path.write_bytes(content)
    return content


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
    said: list[str] = []
    lease.take(path, b"mine", said.append)
    assert path.read_bytes() == b"mine" and said == [] and list(tmp_path.iterdir()) == [path]


def test_a_living_holder_is_waited_for_and_named(tmp_path):
    said: list[str] = []
    holder = start(path := tmp_path / "lease", 0.5)
    lease.take(path, b"mine", said.append)
    assert holder.wait() == 0 and path.read_bytes() == b"mine"
    assert len(said) == 1 and f"Process {holder.pid} on " in said[0] and f"run `kill {holder.pid}` on" in said[0]


def test_a_killed_holder_is_dead_when_the_processes_that_it_started_are(tmp_path):
    code = HOLDER.replace("time.sleep", "os.spawnlp(os.P_WAIT, 'sleep', 'sleep', '0.7'); time.sleep")
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lease"), "9"], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    while not process_identity.inheriting(lease.HELD, str(tmp_path)):
        time.sleep(0.02)
    holder.kill()
    holder.wait()
    said: list[str] = []
    lease.take(tmp_path / "lease", b"mine", said.append)
    assert len(said) == 1 and not process_identity.inheriting(lease.HELD, str(tmp_path))


def test_a_suspended_orphan_is_replaced(tmp_path, ended):
    """It would have ended by itself, and writes nothing; a suspended process whose Snakemake lives is waited for."""
    here = process_identity.this_process()
    content = held_by(path := tmp_path / "lease", starters=[here])
    assert not any(lease.is_dead(content, looks) for looks in range(lease.EXPIRY))
    content = held_by(path, starters=[here, here | {"pid": ended}])
    assert next(looks for looks in range(lease.EXPIRY) if lease.is_dead(content, looks)) == lease.ASK
    lease.take(path, b"mine", print)
    assert path.read_bytes() == b"mine"


def test_in_a_scheduler_s_job_waiting_ends_with_an_error_that_is_not_retried(tmp_path):
    held_by(path := tmp_path / "lease")
    with (
        pytest.raises(JobError, match=r"has been writing this since 2026.*same command again when it") as caught,
        lease.held([path], print, patience=0.1),
    ):
        pass
    assert caught.value.final and b"another" in path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 3}', b"\xff\x00"])
def test_a_damaged_lease_is_replaced_if_nobody_renews_it(tmp_path, content):
    (path := tmp_path / "lease").write_bytes(content)
    said: list[str] = []
    lease.take(path, b"mine", said.append)
    assert path.read_bytes() == b"mine" and "is damaged" in said[0]


def test_a_full_disk_leaves_no_damaged_lease(tmp_path, monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

    opened = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, *mode: opened(self, *mode) and Full())
        patch.setattr(Full, "__enter__", lambda self: self, raising=False)
        patch.setattr(Full, "__exit__", lambda *_: None, raising=False)
        with pytest.raises(OSError, match="No space"):
            lease.take(tmp_path / "lease", b"mine", print)
    assert list(tmp_path.iterdir()) == []


def test_on_another_node_the_holder_lives_as_long_as_it_renews_the_lease(tmp_path):
    """Two nodes are simulated by namespaces: another host name, and process IDs that mean nothing here."""
    allowed = subprocess.run([*TWO_NODES, "true"], capture_output=True).returncode == 0
    require(allowed, "needs root, or a kernel that allows namespaces (unshare --uts --pid)")
    holder = start(path := tmp_path / "lease", 60, TWO_NODES)
    assert json.loads(path.read_bytes())["host"] == "node2"
    with pytest.raises(JobError, match="on node2 has been writing"):
        lease.take(path, b"mine", print, deadline=time.monotonic() + 3 * lease.EXPIRY * lease.LOOK)
    holder.kill()
    holder.wait()
    lease.take(path, b"mine", print)
    assert path.read_bytes() == b"mine"


SQUEUE = '#!/bin/sh\necho asked >> "$0.log"\n%s\n'


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("true", True),  # it has left the queue
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", True),
        ("echo PENDING", True),  # requeued
        ("echo TIMEOUT", True),
        ("echo SUSPENDED", False),
        ("echo RUNNING", None),
        ("echo controller down >&2; exit 1", None),
    ],
)
def test_on_another_node_slurm_knows_whether_the_job_has_ended(tmp_path, monkeypatch, answer, expected):
    (tmp_path / "squeue").write_text(SQUEUE % answer)
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = {"CLUSTER_NAME": "c", "JOB_ID": "7", "RESTART_COUNT": None}
    content = held_by(tmp_path / "lease", host="node2", slurm=job)
    found = [looks for looks in range(1, lease.EXPIRY + 1) if lease.is_dead(content, looks)]
    assert found == {True: [5, 10, 15, 20], False: [], None: [lease.EXPIRY]}[expected]
    assert (tmp_path / "squeue.log").read_text().count("asked") == lease.EXPIRY // lease.ASK
    assert "`scancel 7`" in lease.described(tmp_path / "lease", content)

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "c")
    assert lease.left_slurm(job) is None  # another step of this job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert lease.left_slurm(job) is True  # this job, before it was requeued
    assert lease.left_slurm(job | {"CLUSTER_NAME": "d"}) is None


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
        one.join(60)
        assert one.exitcode == 0
    lines = (tmp_path / "log").read_text().split("\n")[:-1]
    assert len(lines) == 2 * (4 * 6 + 4 * 4)
    for entry, leave in zip(lines[::2], lines[1::2], strict=True):
        assert entry.replace(" in", " out") == leave
    assert not list(tmp_path.glob("lease?*"))


def test_who_has_lost_the_lease_writes_nothing(tmp_path, monkeypatch):
    """Also when it is lost in the middle of writing."""
    monkeypatch.setattr(lease, "RENEWAL", 60)  # in this process, the renewing thread must not find out
    scratch, path = tmp_path / "scratch", tmp_path / ".scratch.lease"
    with lease.held([path], print):
        checkpoint = checkpoints.unsealed(scratch) / "checkpoint-3"
        checkpoint.mkdir(parents=True)
        (checkpoint / "optimizer.pt").touch()
        files.write_json(scratch / "attempts.json", 1)
        before = sorted(scratch.iterdir())
        with pytest.raises(lease.LeaseLost, match="another process's"), files.replacing_folder(scratch / "best"):
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
    assert b"another" in path.read_bytes()
    files.write_json(scratch / "attempts.json", 3)  # without a lease, as in tests, everything is written


def test_who_has_lost_the_lease_is_ended(tmp_path):
    holder = start(path := tmp_path / "lease", 60)
    held_by(path)
    assert holder.wait(30) == 1 and b"another" in path.read_bytes()
