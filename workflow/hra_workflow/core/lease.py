"""One process per result: the lease, a file next to what a job writes, names the process that writes it.

job.start takes the leases of a job before it reads or writes anything, and returns them when the job has finished or
failed: of a training, one next to the run's checkpoints and one next to its results; of any other job, one next to its
first output. A thread renews them every RENEWAL seconds.

Whoever finds a lease decides whether its holder is dead:
    on the same machine     by the process ID and start time, and whether a process that inherited the token still runs;
                            one whose Snakemake has ended ends, too, but if it is suspended, its lease is taken over
    elsewhere, in Slurm     by squeue: the job has left the queue, or is pending again
    otherwise               if the lease is not renewed during EXPIRY looks, one a second (no two clocks are compared)
A dead holder's lease is taken over. While the holder lives, the second process waits and prints who holds it; in a
scheduler's job, where waiting costs GPU hours, it gives up after PATIENCE seconds.

Exclusive creation (O_EXCL), which NFS has too, makes a lease. For a takeover, the successor creates NAME.DIGEST, of the
dead lease's content, in the same way; only its creator may rename it to NAME, so that of several successors one wins.

A process whose lease was taken over, since it had been suspended or cut off for too long, writes nothing any more:
`check`, which files.replacing calls before each renaming, raises LeaseLost, and the renewing thread ends the process.
Nor does one whose Snakemake has ended, but for the checkpoints of a training (finished_runs.py keeps its outputs).
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from hra_workflow.core import process_identity
from hra_workflow.core.errors import JobError

RENEWAL = 5  # seconds
LOOK = 1  # second
EXPIRY = 120  # looks
ASK = 15  # looks without renewal until squeue is asked, and between two questions
PATIENCE = 600  # seconds
# States of a Slurm job: its processes may run; they are stopped and will go on. In all others, they have ended.
RUNS = {"RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT"}
SUSPENDED = {"SUSPENDED", "STOPPED"}
# Environment variable of the holder and of all processes that it starts: token and paths.
HELD = "HRA_LEASE"


class LeaseLost(JobError):
    """Raised when this process must not write any more: another has taken over, or its Snakemake has ended."""


def paths(job: dict, trains: bool) -> list[Path]:
    """Return the leases of a job. Two projects may share only one of a training run's folders."""
    first = Path(next(iter(job["output"].values())))
    return [of(path.absolute()) for path in ((Path(job["params"]["scratch"]), first.parent) if trains else (first,))]


def of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lease")


@contextlib.contextmanager
def held(
    places: list[Path], say: Callable[[str], None], patience: float | None = None, trains: bool = False
) -> Iterator[None]:
    """Hold the leases within the block. While others hold them, wait, at most `patience` seconds.

    trains: the process saves a checkpoint after its Snakemake has ended.
    """
    token = uuid.uuid4().hex
    holder = process_identity.this_process() | {"slurm": slurm_job(), "since": time.strftime("%FT%TZ", time.gmtime())}
    holder["starters"] = process_identity.starters()
    content = json.dumps(holder | {"token": token}).encode()
    deadline = time.monotonic() + patience if patience else None
    with contextlib.ExitStack() as stack:
        for path in places:
            path.parent.mkdir(parents=True, exist_ok=True)
            take(path, content, say, deadline)
            stack.callback(give_back, path, token)
            ended = threading.Event()
            stack.callback(ended.set)
            threading.Thread(target=renew, args=(path, token, ended), daemon=True).start()
        os.environ[HELD] = json.dumps({"token": token, "places": list(map(str, places)), "trains": trains})
        stack.callback(os.environ.pop, HELD)
        yield


def take(path: Path, content: bytes, say: Callable[[str], None], deadline: float | None = None) -> None:
    """Create the lease, or take it over when its holder is dead."""
    looks, last, told = 0, None, None
    while True:
        with contextlib.suppress(FileExistsError):
            create(path, content)
        if (found := read(path)) is None:
            continue
        if found[0] == content:
            return
        looks = looks + 1 if found == last else 0
        last = found
        if is_dead(found[0], looks):
            succeed(path, found[0], content, say)
            continue
        if deadline and time.monotonic() > deadline:
            problem = JobError(f"{described(path, found[0])} Run the same command again when it has ended.")
            problem.final = True
            raise problem
        if told != found[0]:
            say(f"{described(path, found[0])} Waiting until it has ended.")
        told = found[0]
        time.sleep(LOOK)


def create(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        try:
            stream.write(content)
            stream.flush()
        except BaseException:  # such as a full disk
            path.unlink()
            raise


def succeed(path: Path, dead: bytes, content: bytes, say: Callable[[str], None]) -> None:
    """Take over a lease with this content, unless another process does."""
    claim = path.with_name(f"{path.name}.{hashlib.sha256(dead).hexdigest()[:16]}")
    take(claim, content, say)
    found = read(path)
    if found and found[0] == dead:
        os.replace(claim, path)
        print(f"{path}: taken over, since its holder has ended without returning it", flush=True)
    else:
        claim.unlink()


def is_dead(content: bytes, looks: int) -> bool:
    """Return whether the holder of a lease is dead; `looks`: how often the lease was seen without renewal."""
    try:
        holder = json.loads(content)
        pids, slurm = remaining(holder), holder["slurm"]
        is_orphan = process_identity.any_dead(holder.get("starters", []))
    except (ValueError, KeyError, TypeError):  # its holder was killed, or the disk was full, while it was written
        return looks >= EXPIRY
    if pids is not None:
        return not pids or (is_orphan and holder["pid"] in pids and looks >= ASK)
    if not looks or looks % ASK:
        return False
    left = left_slurm(slurm)
    return looks >= EXPIRY if left is None else left


def remaining(holder: dict) -> list[int] | None:
    """Return the holder's process ID or, if it has ended, those of the processes it started; None if out of sight."""
    state = process_identity.state(holder)
    if state == "running":
        return [holder["pid"]]
    if state == "dead":
        return [process.pid for process in process_identity.inheriting(HELD, holder["token"])]
    return None


def slurm_job() -> dict | None:
    """Return the Slurm job of this process: its cluster, its ID, and how often it was requeued."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    return {name: os.environ.get(f"SLURM_{name}") for name in ("CLUSTER_NAME", "JOB_ID", "RESTART_COUNT")}


def left_slurm(job: dict | None) -> bool | None:
    """Return whether the processes of a Slurm job have ended; None if that cannot be told."""
    here = slurm_job()
    if not job or (here and here["CLUSTER_NAME"] != job["CLUSTER_NAME"]):
        return None
    if here and here["JOB_ID"] == job["JOB_ID"]:
        return True if here["RESTART_COUNT"] != job["RESTART_COUNT"] else None
    command = ["squeue", "--noheader", f"--jobs={job['JOB_ID']}", "--format=%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    if answer.returncode:
        return True if "Invalid job id" in answer.stderr else None
    states = set(answer.stdout.split())
    return False if states & SUSPENDED else None if states & RUNS else True


def described(path: Path, content: bytes) -> str:
    """Describe the holder of a lease, and how to end it."""
    try:
        holder = json.loads(content)
        pids = " ".join(map(str, remaining(holder) or [holder["pid"]]))
        who = f"Process {pids} on {holder['host']} has been writing this since {holder['since']}"
        end = f"`scancel {holder['slurm']['JOB_ID']}`" if holder["slurm"] else f"`kill {pids}` on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return f"{path} is damaged, so that its holder is unknown; it is taken over if nobody renews it."
    return f"{who} ({path}). To stop it, run {end}: a training saves a checkpoint, from which it resumes."


def read(path: Path) -> tuple[bytes, int] | None:
    """Return the content of a lease and the time of its renewal; None if there is none."""
    try:
        with path.open("rb") as stream:  # opening it makes NFS ask the server
            return stream.read(), os.fstat(stream.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def is_ours(path: Path, token: str) -> bool:
    found = read(path)
    return bool(found) and token.encode() in found[0]


def token() -> str:
    """Return the token of the leases of this job; empty if it has none."""
    return mine().get("token", "")


def mine() -> dict:
    """Return `token`, `places` and `trains` of the leases of this job; {} if it has none."""
    return json.loads(os.environ.get(HELD, "{}"))


def check() -> None:
    """Raise LeaseLost if this process must not write any more."""
    own = mine()
    for path in map(Path, own.get("places", ())):
        if not is_ours(path, own["token"]):
            raise LeaseLost(lost(path))
    if own and not own["trains"] and process_identity.orphaned():
        raise LeaseLost("The Snakemake that started this job has ended: it writes nothing more.")


def lost(path: Path) -> str:
    return (
        f"{path} is gone or another process's: this one was suspended, or cut off from the file system, for too long. "
        "It writes nothing more. Run the same command again, unless another process writes this."
    )


def renew(path: Path, token: str, ended: threading.Event) -> None:
    """Renew the lease until `ended`; end this process when the lease is lost."""
    while not ended.wait(RENEWAL):
        with contextlib.suppress(OSError):  # the file system does not answer; the next renewal may succeed
            if not is_ours(path, token) and not ended.is_set():
                print(f"LeaseLost: {lost(path)}", file=sys.stderr, flush=True)
                os._exit(1)
            os.utime(path)


def give_back(path: Path, token: str) -> None:
    with contextlib.suppress(OSError):
        if is_ours(path, token):
            path.unlink()
