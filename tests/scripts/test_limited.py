"""Calls in a process with limits: what breaks one is told, and the next call works."""

import time

import pytest

from common.tasks.math import sandbox


def test_values_come_back_and_the_process_stays():
    assert sandbox.call("math:hypot", 3, 4) == 5.0
    process = sandbox.helpers.one.process
    assert sandbox.call("builtins:print", "this goes to the log, not into the answer") is None
    assert sandbox.helpers.one.process is process


def test_a_call_that_stays_in_c_code_is_ended_and_the_next_one_works(monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    started = time.process_time()
    with pytest.raises(TimeoutError):
        sandbox.call("builtins:eval", "9**9**8 % 1")
    assert time.process_time() - started < 0.5  # the time is the other process's
    assert sandbox.call("builtins:abs", -1) == 1


def test_memory_is_limited():
    with pytest.raises(TimeoutError):
        sandbox.call("builtins:eval", f"len(bytes({sandbox.MEMORY}))")
    assert sandbox.call("builtins:abs", -1) == 1


def test_what_cannot_be_imported_is_no_time_out():
    with pytest.raises(RuntimeError, match="exit status 1"):
        sandbox.call("no_such_module:f")
