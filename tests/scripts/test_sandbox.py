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


def test_memory_is_limited():
    with pytest.raises(TimeoutError):
        sandbox.call("builtins:eval", f"len(bytes({sandbox.MEMORY}))")
    assert sandbox.call("builtins:abs", -1) == 1


def test_a_call_that_raises_leaves_the_worker_usable():
    with pytest.raises(TimeoutError):
        sandbox.call("json:loads", "{")
    assert sandbox.call("builtins:abs", -1) == 1


def test_a_worker_that_ends_by_itself_is_no_time_out():
    with pytest.raises(RuntimeError, match="exit status 3"):
        sandbox.call("os:_exit", 3)
    assert sandbox.call("builtins:abs", -1) == 1


def test_what_cannot_be_imported_is_no_time_out():
    with pytest.raises(ImportError, match="no_such_module"):
        sandbox.call("no_such_module:f")


def test_a_worker_ends_with_its_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(sandbox.call("os:getpid")))
    thread.start()
    thread.join()
    assert not psutil.pid_exists(found[0])
