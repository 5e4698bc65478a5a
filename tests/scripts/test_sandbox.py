"""Calls in a process with limits: exceeding one raises TimeoutError, and the next call works."""

import os
import threading

import psutil
import pytest

from hra_workflow.tasks.math import sandbox


def test_values_come_back_and_the_process_stays():
    assert sandbox.call("math:hypot", 3, 4) == 5.0
    process = sandbox.call("os:getpid")
    assert sandbox.call("builtins:print", "this goes to the log, not into the answer") is None
    assert process != os.getpid() and sandbox.call("os:getpid") == process


@pytest.mark.slow
def test_a_call_that_stays_in_c_code_is_ended_and_the_next_one_works(monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    with pytest.raises(TimeoutError):
        sandbox.call("builtins:eval", "9**9**8 % 1")
    assert sandbox.call("builtins:abs", -1) == 1


@pytest.mark.slow
def test_processor_time_is_limited_and_not_wall_time(monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    assert sandbox.call("time:sleep", 2.5) is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (("builtins:eval", f"len(bytes({sandbox.MEMORY}))"), TimeoutError, None),
        (("json:loads", "{"), TimeoutError, None),
        (("os:_exit", 3), RuntimeError, "exit status 3"),
        (("no_such_module:f",), ImportError, "no_such_module"),
    ],
)
def test_memory_is_limited_and_a_call_that_fails_leaves_the_next_one_usable(call, error, message):
    with pytest.raises(error, match=message):
        sandbox.call(*call)
    assert sandbox.call("builtins:abs", -1) == 1


def test_a_worker_ends_with_its_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(sandbox.call("os:getpid")))
    thread.start()
    thread.join()
    assert not psutil.pid_exists(found[0])
