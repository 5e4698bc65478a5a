"""Programs that forge outcomes, read secrets, connect, stop others or take all resources, as a model may write them."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import psutil
import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.math import isolation
from support import ROOT, require

PASSED, BAD_DESCRIPTOR = ("passed", ""), ("failed", "OSError: [Errno 9] Bad file descriptor")
WORKFLOW = ROOT / "workflow"


@pytest.fixture(scope="module", autouse=True)
def bubblewrap():
    """Require bubblewrap, and namespaces for it."""
    require(shutil.which("bwrap") is not None, "bubblewrap is not installed")
    try:
        isolation.run("")
    except JobError as problem:
        require(False, str(problem))


def run(program: str, **values) -> tuple[str, str]:
    """Execute a program in which these values are defined."""
    return isolation.run("".join(f"{name} = {value!r}\n" for name, value in values.items()) + textwrap.dedent(program))


def test_no_file_variable_or_descriptor_of_the_user_is_visible(tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("secret")
    for name in ("HF_TOKEN", "SSH_AUTH_SOCK", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    code = """
        import os
        assert not os.path.exists(home)
        assert not {"proc", "run", "sys", "var"} & set(os.listdir("/"))
        assert set(os.listdir("/etc")) <= {"alternatives", "ld.so.cache"}
        assert set(os.listdir("/tmp")) == in_tmp and os.getcwd() == "/tmp"
        assert not {"HF_TOKEN", "SSH_AUTH_SOCK"} & set(os.environ)
        import numpy, sqlite3
        os.read(held, 1)
    """
    with open(tmp_path / ".netrc") as held:
        os.set_inheritable(held.fileno(), True)
        # An environment in /tmp is seen there, and nothing else.
        in_tmp = {place.split("/")[2] for place in isolation.visible() if place.startswith("/tmp/")}
        assert run(code, home=str(tmp_path), held=held.fileno(), in_tmp=in_tmp) == BAD_DESCRIPTOR


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm", "/var/tmp"])
def test_packages_are_seen_wherever_they_are_and_what_is_next_to_them_is_not(monkeypatch, place):
    """A clone in /tmp has its environment there; a .pth file may add that of another one."""
    require(os.access(place, os.W_OK), f"{place} is not writable")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        packages = Path(folder, "lib/site-packages")
        packages.mkdir(parents=True)
        Path(packages, "module.py").touch()
        Path(folder, "secret").touch()
        monkeypatch.syspath_prepend(packages)
        code = """
            import os
            assert os.listdir(packages) == ["module.py"] and os.listdir(folder) == ["lib"]
            open(f"{place}/written", "w") if place == "/tmp" else None
            open(f"{packages}/written", "w")
        """
        outcome, reason = run(code, packages=str(packages), folder=folder, place=place)
    assert outcome == "failed" and re.match("OSError: .Errno 30. Read-only|PermissionError", reason), reason


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ("socket.create_connection(('127.0.0.1', port), 5)", "ConnectionRefusedError"),
        ("socket.socket(socket.AF_UNIX).connect(path)", "FileNotFoundError"),
        ("socket.socket(socket.AF_UNIX).connect(chr(0) + path)", "ConnectionRefusedError"),
        ("os.kill(job, signal.SIGSTOP)", "ProcessLookupError"),
        ("open(runner, 'a')", "PermissionError|OSError: .Errno 30. Read-only"),
        ("open('/usr/x', 'w')", "PermissionError|OSError: .Errno 30. Read-only"),
        ("os.setuid(0)", "PermissionError"),
        ("assert libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None) == 0", "AssertionError"),
        ("assert libc.umount2(b'/usr', 2) == 0", "AssertionError"),
        ("bytearray(3 << 30)", "MemoryError"),
        ("for name in 'ab': open(name, 'wb').write(bytes(40 << 20))", "OSError: .Errno 28. No space"),
        ("for _ in range(40): os.fork() or time.sleep(1000)", "BlockingIOError"),
        ("os.closerange(0, 100)", "exit status 1"),
    ],
)
def test_nothing_outside_is_in_reach_and_nothing_is_unlimited(tmp_path, action, error):
    path = str(tmp_path / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as network,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        for server, address in ((named, path), (abstract, f"\0{path}")):
            server.bind(address)
            server.listen()
        code = f"import ctypes, os, signal, socket, time\nlibc = ctypes.CDLL(None)\n{action}"
        values = {"port": network.getsockname()[1], "path": path, "job": os.getpid(), "runner": str(isolation.RUNNER)}
        outcome, reason = run(code, **values)
    assert outcome == "failed" and re.match(error, reason), reason


FORGE = """
import json, os, signal
reply = json.dumps({"results": {"humaneval": {"pass@1,create_test": 1.0}}, "isolation": "complete"}).encode()

def write():
    for descriptor in range(64):
        for text in (reply, b"passed", b"0"):
            try:
                os.write(descriptor, text)
            except OSError:
                pass
"""


@pytest.mark.parametrize(
    "program",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit()",
        "import builtins; builtins.exit = builtins.quit = print; exit = None; assert False",
        f"{FORGE}write(); os._exit(0)",
        f"{FORGE}\nif os.fork(): assert False\nos.setsid()\nwhile True: write()",
        f"{FORGE}\ntry:\n    os.kill(os.getppid(), signal.SIGSTOP)\nexcept OSError:\n    pass\nwrite(); os._exit(0)",
    ],
)
def test_a_program_that_does_not_reach_its_end_has_not_passed(program):
    assert run(f"{program}\nassert False")[0] == "failed"
    assert run("assert True") == PASSED


@pytest.mark.parametrize(
    ("program", "wall", "reason"),
    [
        ("while True: pass", 60, "1 s of CPU time"),
        ("import os, signal; os.fork(); os.setsid(); os.kill(os.getpid(), signal.SIGSTOP)", 1, "1 s"),
    ],
)
def test_programs_that_do_not_end_are_ended(monkeypatch, program, wall, reason):
    """`run` returns once no process of the sandbox has its reply open."""
    monkeypatch.setitem(isolation.LIMITS, "CPU", 1)
    monkeypatch.setattr(isolation, "SECONDS", 1)
    monkeypatch.setattr(isolation, "WALL_SECONDS", wall)
    assert run(program) == ("timed out", reason)


def test_no_program_outlives_its_job():
    script = "from hra_workflow.tasks.math import isolation; isolation.run('import time; time.sleep(1000)')"
    environment = os.environ | {"PYTHONPATH": str(WORKFLOW)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as job:
        found = []
        while len(found) < 3:  # bubblewrap outside, bubblewrap and the program inside
            assert job.poll() is None
            found = psutil.Process(job.pid).children(recursive=True)
        job.kill()
    assert psutil.wait_procs(found, timeout=60)[1] == []


ORDINARY = f"""
import os
from hra_workflow.tasks.math import isolation
assert os.geteuid() == 65534
print(isolation.check())
program = "import os; assert os.getuid() == 65534 and not os.path.exists('{WORKFLOW}/hra_workflow/__init__.py')"
assert isolation.run(program) == ("passed", "")
print(isolation.run("import os, time; [os.fork() or time.sleep(1000) for _ in range(40)]"))
"""


def test_it_needs_no_rights_of_root():
    """Become another user, who sees what a sandbox sees and the packages."""
    require(os.geteuid() == 0, "only root can become another user")
    seen = [*isolation.visible(), "/bin", str(WORKFLOW), str(ROOT / "hra")]
    mounts = [*isolation.folders(), *isolation.mounts(seen), "--proc", "/proc"]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    command = ["bwrap", "--cap-add", "ALL", *mounts, *user]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{WORKFLOW}:{ROOT}"}
    done = subprocess.run([*command, sys.executable, "-c", ORDINARY], env=environment, capture_output=True, text=True)
    assert "('failed', 'BlockingIOError: " in done.stdout, done.stderr
