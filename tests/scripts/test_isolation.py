"""Programs that would read secrets, leave files, connect or not end, run as those that a model writes."""

import os
import shutil
import socket
import subprocess
import sys

import pytest

from common.core.errors import JobError
from common.tasks.math import isolation
from support import ROOT

MODULE = """
import json
from common.tasks.math import isolation

request, replies = isolation.begin()
held = open(__file__ + ".held", "w")  # a library may have a file open for writing
locked = isolation.lock(request)
outcomes = {}
for program in request["programs"]:
    try:
        exec(program, {"request": request})
        outcomes[program] = "done"
    except Exception as problem:
        outcomes[program] = type(problem).__name__
print("for the log")
print(json.dumps({"locked": locked, "outcomes": outcomes}), file=replies, flush=True)
"""


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Provide execute(programs, **request), which returns each program's outcome and the isolation."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/hostile.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'code'}:{os.environ.get('PYTHONPATH', '')}")

    def run(programs: list[str], seconds: float = 60, **request) -> tuple[dict[str, str], str]:
        reply = isolation.run("hostile", {"programs": programs} | request, tmp_path / "home", seconds, {"GIVEN": "1"})
        return reply["outcomes"], reply["locked"]

    yield run
    assert not list((tmp_path / "home").glob("*"))


REFUSED = {  # program -> what becomes of it
    "import os; os.environ['HF_TOKEN']": "KeyError",
    "import os; os.environ['SSH_AUTH_SOCK']": "KeyError",
    "assert open(request['cache'] + '/token').read()": "AssertionError",
    "open(request['user'] + '/.ssh/id')": "FileNotFoundError",
    "open(request['code'] + '/hostile.py', 'a')": "OSError",
    "open(request['code'] + '/../beside')": "FileNotFoundError",
    "import socket; socket.create_connection(('127.0.0.1', request['port']), 5)": "OSError",
    "import os; os.kill(request['pid'], 0)": "ProcessLookupError",
    "from common.tasks.math import isolation; isolation.set_read_only('/', False)": "PermissionError",
    "import os; assert not os.system('umount /tmp 2> /dev/null')": "AssertionError",
    "bytearray(8 << 30)": "MemoryError",
}
ALLOWED = [
    "open('/tmp/isolation-test', 'w').write('x')",
    "open(request['home'] + '/x', 'w').write('x')",
    "import os; assert os.environ['PATH'] and os.environ['GIVEN']; assert os.environ['HOME'] == request['home']",
    "import sqlite3, yaml",
    "import multiprocessing\nwith multiprocessing.Manager() as manager: manager.list().append(1)",
]


@pytest.fixture
def user(tmp_path, monkeypatch) -> dict:
    """Create a user with secrets, in a folder that the module sees because it contains its code."""
    (tmp_path / "beside").touch()
    user, cache = tmp_path / "code/user", tmp_path / "code/cache"
    (user / ".ssh").mkdir(parents=True)
    (user / ".ssh/id").write_text("key")
    cache.mkdir()
    (cache / "token").write_text("hf_secret")
    variables = {"HOME": user, "HF_HOME": cache, "HF_TOKEN": "hf_secret", "SSH_AUTH_SOCK": "/tmp/agent"}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    return {"user": str(user), "cache": str(cache), "code": str(tmp_path / "code"), "pid": os.getpid()}


def test_programs_reach_nothing_outside(execute, user):
    if not isolation.namespaces():
        refused = "this kernel allows no user namespaces"
        pytest.fail(refused) if os.environ.get("HRA_TESTS") == "all" else pytest.skip(refused)
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcomes, locked = execute([*REFUSED, *ALLOWED], **user, port=server.getsockname()[1])
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert outcomes == REFUSED | dict.fromkeys(ALLOWED, "done")
    assert locked == "no network, files read-only, /tmp private"
    assert not os.path.exists("/tmp/isolation-test")


def test_without_namespaces_secrets_memory_and_time_are_still_kept(execute, user, monkeypatch):
    monkeypatch.setattr(isolation, "namespaces", list)
    some = [program for program, error in REFUSED.items() if error in ("KeyError", "MemoryError")]
    outcomes, locked = execute([*some, *ALLOWED[1:]], **user)
    assert outcomes == {program: REFUSED[program] for program in some} | dict.fromkeys(ALLOWED[1:], "done")
    assert locked == "none"


ENDLESS = "import subprocess, time; subprocess.Popen(['sleep', '1000']); time.sleep(1000)"


@pytest.mark.slow
def test_programs_that_do_not_end_are_ended(execute):
    with pytest.raises(JobError, match="hostile took longer than 3 s"):
        execute([ENDLESS], seconds=3)


@pytest.mark.parametrize("found", [True, False])
def test_no_program_outlives_its_job(execute, tmp_path, found):
    """Wait until no process keeps the killed job's standard error open."""
    script = "import sys; from pathlib import Path; from common.tasks.math import isolation\n"
    script += f"if not {found}: isolation.namespaces = list\n"
    script += "program = 'import sys, time; print(1, file=sys.stderr, flush=True); time.sleep(1000)'\n"
    script += f"isolation.run('hostile', {{'programs': [program]}}, Path({str(tmp_path / 'home')!r}), 900, {{}})"
    command = [sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'workflow/scripts'}:{tmp_path / 'code'}"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as job:
        assert job.stderr.readline() == "1\n"
        job.kill()
        assert job.stderr.read() == ""
    shutil.rmtree(tmp_path / "home")  # what only the job could remove


def test_a_module_that_fails_says_so(execute):
    with pytest.raises(JobError, match="hostile ended with exit status 3 and no result"):
        execute(["import os; os._exit(3)"])
