"""One process per result: the lease, a file next to a job's outputs, names the process that writes them.

job.start takes the leases of a job before it reads or writes anything, and releases them when the job has finished or
failed. A training job has one lease next to the run's checkpoints and one next to its results; any other job has one
next to its first output.

filelock's SoftFileLease creates the file, renews it every RENEWAL seconds, detects its loss and releases it. Whether a
holder is dead is decided here: filelock's takeover exchanges two file names, which NFS, Lustre and most other network
file systems cannot do; it never takes over an empty file; and it considers every process of another machine with the
same host name dead. A holder is dead if
    on the same machine     it and the processes that it has started, such as torchrun's, have ended
    otherwise               the waiting process has seen no renewal for EXPIRY seconds by its clock: a suspended process
                            loses its lease as well
While the holder lives, the second process waits and prints the holder; in a scheduler's job, where waiting costs GPU
hours, it stops after PATIENCE seconds.

A process that has lost its lease no longer writes: `check`, which files.replacing calls before each renaming, raises
LeaseLost, and the renewing thread ends the process. A process whose Snakemake has ended writes only the checkpoints of
a training.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import SoftFileLease, Timeout

from hra_workflow.core import process_identity
from hra_workflow.core.errors import JobError

RENEWAL = 5  # seconds
LOOK = 1
EXPIRY = 120
PATIENCE = 600
# Environment variable of the holder and of all processes that it starts: token by path, and whether it trains.
HELD = "HRA_LEASE"


class LeaseLost(JobError):
    """Raised when this process must no longer write: another process has its lease, or its Snakemake has ended."""


def paths(job: dict, trains: bool) -> list[Path]:
    """Return the leases of a job. Two projects may share only one of a training run's folders."""
    first = Path(next(iter(job["output"].values())))
    held_for = [Path(job["params"]["scratch"]), first.parent] if trains else [first]
    return [file_for(path.absolute()) for path in held_for]


def file_for(path: Path) -> Path:
    """Return the path of the lease of a file or folder, which is next to it."""
    return path.with_name(f".{path.name}.lease")


@contextlib.contextmanager
def held(
    places: list[Path], say: Callable[[str], None], patience: float | None = None, trains: bool = False
) -> Iterator[None]:
    """Hold the leases within the block. While other processes hold them, wait, at most `patience` seconds.

    trains: the process saves a checkpoint after its Snakemake has ended.
    """
    deadline = time.monotonic() + patience if patience else None
    with contextlib.ExitStack() as stack:
        tokens = {str(path): stack.enter_context(taken(path, say, deadline)) for path in places}
        os.environ[HELD] = json.dumps({"tokens": tokens, "trains": trains})
        stack.callback(os.environ.pop, HELD)
        yield


@contextlib.contextmanager
def taken(path: Path, say: Callable[[str], None], deadline: float | None = None) -> Iterator[str]:
    """Hold a lease within the block; yield its token."""
    lease = SoftFileLease(path, lease_duration=EXPIRY, heartbeat_interval=RENEWAL, on_compromise=end)
    own = process_identity.this_process() | {"slurm": os.environ.get("SLURM_JOB_ID")}
    acquire(lease, path, say, deadline)
    try:
        with path.open("a") as stream:  # filelock ignores unknown lines
            stream.write(f"holder={json.dumps(own | {'since': time.strftime('%FT%TZ', time.gmtime())})}\n")
        yield lease.token
    finally:
        lease.release()


def acquire(lease: SoftFileLease, path: Path, say: Callable[[str], None], deadline: float | None) -> None:
    """Wait for a lease; print its holder once."""
    last, told, renewed = None, None, time.monotonic()
    while True:
        if not (found := read(path)):
            with contextlib.suppress(Timeout):
                lease.acquire(blocking=False)
                return
            continue
        if is_new := found != last:
            last, renewed = found, time.monotonic()
        if is_dead(found[0]) or time.monotonic() - renewed > EXPIRY:
            remove(path, found, say)
            continue
        if deadline and time.monotonic() > deadline:
            problem = JobError(f"{described(path, found[0])} Run the same command again when it has ended.")
            problem.final = True
            raise problem
        if told != found[0] and not is_new:  # at the first look, the holder may not have described itself yet
            say(f"{described(path, found[0])} Waiting until it has ended.")
            told = found[0]
        time.sleep(LOOK)


def remove(path: Path, found: tuple[bytes, int], say: Callable[[str], None]) -> None:
    """Remove a lease unless it differs from `found`: it has been renewed, or another process was faster."""
    with taken(path.with_name(f"{path.name}.{hashlib.sha256(found[0]).hexdigest()[:16]}"), say):
        if read(path) == found:
            path.unlink()


def is_dead(content: bytes) -> bool:
    """Return whether the holder of a lease and the processes that it has started are known to have ended."""
    holder = holder_of(content)
    return bool(holder) and process_identity.state(holder) == "dead" and not started_by(holder)


def started_by(holder: dict) -> list[int]:
    """List the processes on this machine that the holder of a lease has started."""
    return [process.pid for process in process_identity.processes_inheriting(HELD, holder["token"])]


def described(path: Path, content: bytes) -> str:
    """Describe the holder of a lease, and how to end it."""
    if not (holder := holder_of(content)):
        return (
            f"{path} exists, but does not name the process that holds it yet; it is taken over if no process renews it "
            f"for {EXPIRY} seconds."
        )
    left = started_by(holder) if process_identity.state(holder) == "dead" else []
    pids = " ".join(map(str, left or [holder["pid"]]))
    stop = f"`scancel {holder['slurm']}`" if holder["slurm"] else f"`kill {pids}` on {holder['host']}"
    return (
        f"Process {pids} on {holder['host']} has been writing this since {holder['since']} ({path}). "
        f"To stop it, run {stop}: a training saves a checkpoint, from which it resumes."
    )


def holder_of(content: bytes) -> dict:
    """Return the description of a lease's holder, written by `taken`, and its `token`; {} if it is not complete."""
    entries = dict(line.partition("=")[::2] for line in content.decode(errors="replace").splitlines())
    try:
        return json.loads(entries["holder"]) | {"token": entries["token"]}
    except (ValueError, KeyError, TypeError):  # the holder is writing, or was killed during the write
        return {}


def read(path: Path) -> tuple[bytes, int] | None:
    """Return the content of a lease and the time of its renewal; None if it does not exist."""
    try:
        with path.open("rb") as stream:  # opening it makes NFS query the server
            return stream.read(), os.fstat(stream.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def token() -> str:
    """Return the token of the first lease of this job; empty if it has none."""
    return next(iter(mine()["tokens"].values()), "")


def mine() -> dict:
    """Return `tokens` and `trains` of the leases of this job."""
    return json.loads(os.environ.get(HELD, '{"tokens": {}, "trains": true}'))


def check() -> None:
    """Raise LeaseLost if this process must no longer write."""
    own = mine()
    for path, token in own["tokens"].items():
        if not (found := read(Path(path))) or f"token={token}\n".encode() not in found[0]:
            raise LeaseLost(lost(path))
    if not own["trains"] and process_identity.is_orphaned():
        raise LeaseLost("The Snakemake that started this job has ended: it writes nothing more.")


def lost(path: str) -> str:
    return (
        f"{path} is missing or held by another process: this one was suspended, or without the file system, too long. "
        "It writes no more files. Run the same command again, unless another process writes this."
    )


def end(compromise) -> None:
    """End this process, whose lease is lost."""
    print(f"LeaseLost: {lost(compromise.lock_file)}", file=sys.stderr, flush=True)
    os._exit(1)
