"""Execution of untrusted programs without access to the user's files, credentials and network, if the kernel allows it.

`run` starts a module in a separate process with a private home, a few environment variables (no token) and, where the
kernel allows them, new namespaces (unshare(1) of util-linux; no root needed) without a network device. The module calls
`begin`, loads what it needs, and then drops its privileges with `lock`: files become read-only, /tmp is empty and
private, credentials in the home are hidden, memory and CPU time are limited.
"""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import site
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from common.core.errors import JobError
from common.tasks.math.sandbox import limit

MEMORY = 4 << 30  # bytes of address space beyond what the process uses when it locks itself
PROCESSOR_SECONDS = 600
DISK = 1 << 30
KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")
NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--mount")
PROCESSES = ("--pid", "--fork", "--kill-child", "--mount-proc")  # fails where parts of /proc are hidden, as in Docker
WHOLE = "no network, files read-only, /tmp private"
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
SECRETS = (".netrc", ".git-credentials", ".ssh", ".aws", ".gnupg", ".kube", ".docker")

# linux/sched.h, linux/mount.h, linux/prctl.h, linux/capability.h
CLONE_NEWNS = 0x20000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC = 2, 4, 4096, 16384
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, CAPABILITIES, CAPABILITY_VERSION = 24, 38, 64, 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def run(module: str, request: dict, folder: Path, seconds: float, environment: dict[str, str]) -> dict:
    """Return the reply of `module`, which calls `begin` and `lock`, to the request. Its home is created in `folder`.

    Raises JobError if the module fails or takes longer than `seconds` of wall time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = namespaces()
    home = tempfile.mkdtemp(prefix="home-", dir=folder.resolve())
    private = dict.fromkeys(("HOME", "HF_HOME", "XDG_CACHE_HOME"), home)
    private["TMPDIR"] = "/tmp" if prefix else tempfile.gettempdir()
    paths = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | environment | private
    variables |= {"PYTHONPATH": paths, "PYTHONUSERBASE": site.getuserbase(), "OMP_NUM_THREADS": "1"}
    request |= {"home": home, "isolated": bool(prefix), "secrets": secrets()}
    with tempfile.TemporaryFile("w+") as replies:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", module],
            stdin=subprocess.PIPE, stdout=replies, env=variables, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()  # kept open, so that the module ends when this process does
            status = process.wait(seconds)
        except subprocess.TimeoutExpired as problem:
            raise JobError(
                f"{module} took longer than {seconds:.0f} s. Run again, or remove the benchmark."
            ) from problem
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            shutil.rmtree(home, ignore_errors=True)
        replies.seek(0)
        if status or not (reply := replies.read()):
            raise JobError(f"{module} ended with exit status {status} and no result. Its error is in the log.")
    return json.loads(reply)


def namespaces() -> list[str]:
    """Return the command prefix that creates new namespaces; empty if the kernel does not allow them."""
    for command in ([*NAMESPACES, *PROCESSES], [*NAMESPACES]):
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/tmp"], capture_output=True).returncode == 0:
                return command
    return []


def secrets() -> list[str]:
    """List the user's existing files and folders with credentials."""
    home = Path.home()
    places = [os.environ.get("HF_HOME"), home / ".cache/huggingface"]
    files = [Path(place, name) for place in places if place for name in ("token", "stored_tokens")]
    files += [Path(os.environ["HF_TOKEN_PATH"])] if "HF_TOKEN_PATH" in os.environ else []
    return [str(path.resolve()) for path in [*files, *(home / name for name in SECRETS)] if path.exists()]


def begin():
    """Return, in the module, the request and a stream for the reply; other output goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    if request["isolated"]:
        mount("tmpfs", request["home"], "tmpfs", MS_NOSUID | MS_NODEV, f"size={DISK},mode=700")
    return request, replies


def end_with_the_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def lock(request: dict) -> str:
    """Drop all privileges in the module, once it has loaded everything. Returns what is isolated, or "none"."""
    done = []
    if request["isolated"]:
        done.append("no network")
        with contextlib.suppress(OSError):
            # A mount with a file open for writing cannot become read-only, but its copy in a new namespace can.
            check(libc.unshare(CLONE_NEWNS), "unshare")
            set_read_only("/", True)
            done.append("files read-only")
        with contextlib.suppress(OSError):
            kept = {os.path.realpath(path) for path in (*sys.path, sys.prefix, sys.base_prefix, os.getcwd())}
            for place in TEMPORARY:
                cover(place, {path for path in kept if os.path.isdir(path)} | {request["home"]})
            done.append("/tmp private")
        with contextlib.suppress(OSError):
            set_read_only(request["home"], False)
        for path in request["secrets"]:
            with contextlib.suppress(OSError):
                hide(path)
        give_up_capabilities()
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, DISK)
    limit(resource.RLIMIT_CPU, int(time.process_time()) + PROCESSOR_SECONDS)
    limit(resource.RLIMIT_AS, address_space() + MEMORY)
    return ", ".join(done) or "none"


def cover(place: str, kept: set[str]) -> None:
    """Mount an empty in-memory folder over `place`, in which only the folders `kept` remain visible."""
    if not os.path.isdir(place):
        return
    inside = sorted(path for path in kept if Path(place) in Path(path).parents)
    handles = [os.open(path, os.O_PATH) for path in inside]
    mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, f"size={DISK},mode=1777")
    for path, handle in zip(inside, handles, strict=True):
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{handle}", path, None, MS_BIND | MS_REC)
        os.close(handle)


def hide(path: str) -> None:
    if os.path.isdir(path):
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "size=4096,mode=700")
    elif os.path.exists(path):
        mount("/dev/null", path, None, MS_BIND)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    arguments = [value.encode() if value is not None else None for value in (source, target, kind, options)]
    check(libc.mount(*arguments[:3], ctypes.c_ulong(flags), arguments[3]), target)


def set_read_only(place: str, yes: bool) -> None:
    """Change the read-only flag of a mount, including all mounts below if it becomes read-only. Needs Linux 5.12."""
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY * yes, MOUNT_ATTR_RDONLY * (not yes), 0, 0)
    flags = AT_RECURSIVE if yes else 0
    check(libc.syscall(MOUNT_SETATTR, AT_FDCWD, place.encode(), flags, attributes, len(attributes)), place)


def give_up_capabilities() -> None:
    """Drop the capabilities of the namespaces' root, which could undo the mounts."""
    for capability in range(CAPABILITIES):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    check(libc.capset(struct.pack("Ii", CAPABILITY_VERSION, 0), bytes(24)), "capset")


def check(status: int, what: str) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
