"""A pytest plugin: a hanging test fails with its threads' stacks, and its child processes are killed.

pytest-timeout raises in the main thread. Before that, this kills the processes of the test, for which `Popen.__exit__`
and pipes would wait. A timer of our own sends the signal to the main thread: of pytest-timeout's, sent to the process,
another thread may take it after a suspension. A process that hangs outside of Python exits a minute later.
"""

import contextlib
import faulthandler
import os
import signal
import threading
import time

import psutil
import pytest

SLOW_SECONDS = 900
GRACE_SECONDS = 60
# Inherited by all that tests start, unlike a process's parent, which a daemon or an orphan has lost.
MARK = "HRA_TEST_PROCESS"
os.environ[MARK] = str(os.getpid())
TIMER = pytest.StashKey[threading.Timer]()


def pytest_configure(config):
    config.uncaptured_stderr = os.dup(2)


def time_limit(item) -> float:
    """Seconds, from the test's marks."""
    if marker := item.get_closest_marker("timeout"):
        return marker.args[0]
    return SLOW_SECONDS if item.get_closest_marker("slow") else float(item.config.getini("timeout"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(time_limit(item)))


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item, settings):
    done = yield
    fail = signal.getsignal(signal.SIGALRM)

    def kill_then_fail(number, frame):
        kill_processes(item.nodeid)
        fail(number, frame)

    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, 0)  # pytest-timeout's
        signal.signal(signal.SIGALRM, kill_then_fail)
        to_main = (threading.main_thread().ident, signal.SIGALRM)
        item.stash[TIMER] = timer = threading.Timer(settings.timeout, signal.pthread_kill, to_main)
        timer.daemon = True
        timer.start()
    faulthandler.dump_traceback_later(settings.timeout + GRACE_SECONDS, exit=True, file=item.config.uncaptured_stderr)
    return done


@pytest.hookimpl(wrapper=True)
def pytest_timeout_cancel_timer(item):
    if timer := item.stash.get(TIMER, None):
        timer.cancel()
        timer.join()  # before the signal's handler is removed
    faulthandler.cancel_dump_traceback_later()
    return (yield)


def kill_processes(test: str) -> None:
    """Kill the processes that this process has started in a test, and theirs."""
    # Always ten times: one of them may start another meanwhile, and one that is being started has no environment yet.
    for _ in range(10):
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                seen = process.environ()
                mine = seen.get(MARK) == str(os.getpid()) and process.pid != os.getpid()
                if mine and seen.get("PYTEST_CURRENT_TEST", "").startswith(f"{test} ("):
                    process.kill()
        time.sleep(0.1)


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                one.kill()
