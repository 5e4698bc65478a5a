"""Execution of one untrusted program with its tests in a separate sandbox: bubblewrap around isolated_program.py.

The sandbox contains the libraries of the system and of Python, read-only, and an otherwise empty /tmp; it contains no
other file, variable, socket, process or network of this machine. This module decides whether a program passed: it must
end by itself, after its tests, and return the token that was made for it.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from hra_workflow.core.errors import JobError

PASSED, FAILED, TIMED_OUT = "passed", "failed", "timed out"
SECONDS = 3  # of CPU time per process, which a busy machine does not change
WALL_SECONDS = 30
MEMORY, PROCESSES, DISK = 2 << 30, 16, 64 << 20
LIMITS = {"AS": MEMORY, "CORE": 0, "CPU": SECONDS, "FSIZE": DISK, "NPROC": PROCESSES}
RUNNER = Path(__file__).with_name("isolated_program.py")
SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
PACKAGES = ("site-packages", "dist-packages")  # on sys.path, also of other environments (from a .pth file)
REPLY = 4096  # maximum bytes read of a reply
REMEDY = (
    "Programs written by the model run in bubblewrap 0.8 or later only. Install it (`apt-get install bubblewrap` or "
    "`dnf install bubblewrap`) on the machine that runs this job and allow it to create namespaces, or set "
    "`unsafe_code: false` in the benchmark's config entry."
)


def check() -> str:
    """Return bubblewrap's version; raise JobError unless a program can use Python's packages in it."""
    if not shutil.which("bwrap"):
        raise JobError(f"bubblewrap is not installed. {REMEDY}")
    if (found := run("import numpy")) != (PASSED, ""):
        raise JobError(
            f"The program `import numpy` in bubblewrap: expected {PASSED}, found {': '.join(found)}. {seen()}"
        )
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def seen() -> str:
    return (
        f"A program sees /usr, bin and lib in {sys.base_prefix} and {sys.prefix}, {' and '.join(PACKAGES)} on "
        "sys.path, and folders lib* in LD_LIBRARY_PATH. Install the environment there, readable for all users."
    )


def run(program: str) -> tuple[str, str]:
    """Return whether the program, which contains its tests, passed, failed or timed out, and the reason."""
    request = {"program": program, "token": secrets.token_hex(), "limits": LIMITS}
    reading, writing = os.pipe()  # holds 64 KiB: a program that writes more into it waits until its time is over
    with tempfile.TemporaryFile() as requests, open(reading, "rb") as replies:
        requests.write(json.dumps(request).encode())
        requests.seek(0)
        try:
            status = subprocess.run(
                command(), stdin=requests, stdout=writing, stderr=writing, env=environment(), timeout=WALL_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
        finally:
            os.close(writing)
        text = replies.read(REPLY).decode(errors="replace")
    started, _, reply = text.partition("\n")
    if started != "started":
        raise JobError(f"bubblewrap did not start a program (exit status {status}): {text.strip()}. {REMEDY} {seen()}")
    if status is None:
        return TIMED_OUT, f"{WALL_SECONDS} s"
    if status == 128 + signal.SIGXCPU:
        return TIMED_OUT, f"{SECONDS} s of CPU time"
    if status == 0 and reply == request["token"]:
        return PASSED, ""
    return FAILED, reply or f"exit status {status}"


def command() -> list[str]:
    """Return the command that starts RUNNER in a new sandbox."""
    # The kernel does not limit the number of root's processes, so RUNNER becomes another user.
    user = ["--unshare-user"] if os.geteuid() else ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [
        # If memory runs out, the kernel ends the processes of the sandbox, not the job.
        *("sh", "-c", 'echo 1000 > /proc/self/oom_score_adj && exec "$@"', "sh", shutil.which("bwrap") or "bwrap"),
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL", *user),
        *(*folders(), *mounts(visible()), "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"),
        *(sys.executable, "-s", "-P", "-B", str(RUNNER)),
    ]  # fmt: skip


def folders() -> list[str]:
    """Return the options for /dev and an empty /tmp; `mounts` must follow these, since it mounts folders in them."""
    return ["--dev", "/dev", "--perms", "1777", "--size", str(DISK), "--tmpfs", "/tmp"]


def mounts(places: list[str]) -> list[str]:
    return [part for place in places for part in ("--dir", os.path.dirname(place), "--ro-bind", place, place)]


def visible() -> list[str]:
    """Return the files and folders in a sandbox: libraries, but no folder that a user works in."""
    parts = ("bin", "lib", "lib64", "pyvenv.cfg")
    python = [Path(base, part) for base in (sys.base_prefix, sys.prefix) for part in parts]
    loaded = map(Path, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    libraries = [place for place in loaded if place.name.startswith("lib")]  # and not, for example, the user's home
    packages = [place for place in map(Path, sys.path) if place.name in PACKAGES]
    places = (*map(Path, SYSTEM), *python, *packages, *libraries, RUNNER)
    return [str(place) for place in places if place.is_absolute() and place.exists()]


def environment() -> dict[str, str]:
    libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    fixed = {"PATH": os.defpath, "HOME": "/tmp", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    return libraries | fixed
