"""Calls of functions in worker processes that are killed when they use too much CPU time or memory.

The kernel's limits kill a worker (pebble starts the next one): a signal handler in the same process would not help,
since Python runs it between two interpreter steps, and 9**9**9**9 is one step. CPU time is limited, not wall time as
with pebble's `timeout`, so that a busy machine does not change a grade.
"""

import importlib
import logging
import math
import multiprocessing
import resource
import threading
import time
import traceback
import weakref

from pebble import ProcessExpired, ProcessPool

SECONDS = 5
MEMORY = 4 << 30  # of addresses, of which the libraries take up to 1.5

workers = threading.local()


def call(function: str, *arguments):
    """Call `module:function` with the arguments; raise TimeoutError if it exceeds a limit or fails on its input."""
    if not hasattr(workers, "own"):
        workers.own = Worker()
    try:
        succeeded, result = workers.own.pool.schedule(limited, (function, arguments, SECONDS)).result()
    except ProcessExpired as problem:
        if problem.exitcode > 0:
            raise RuntimeError(f"the process for {function} ended with exit status {problem.exitcode}") from problem
        succeeded = False
    if not succeeded:
        raise TimeoutError(f"no result of {function} within {SECONDS} s of CPU time and {MEMORY >> 30} GiB")
    return result


class Worker:
    """One worker process, which handles calls one after another and ends with the calling thread."""

    def __init__(self):
        # Spawned rather than forked: other threads may hold locks at the time of a fork.
        self.pool = ProcessPool(1, initializer=begin, context=multiprocessing.get_context("spawn"))
        weakref.finalize(self, end, self.pool)


def end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def begin() -> None:
    """Limit this process's memory and discard its output."""
    logging.disable(logging.WARNING)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_AS, MEMORY)


def limited(function: str, arguments: tuple, seconds: int) -> tuple[bool, object]:
    """Return whether the function succeeds within `seconds` of CPU time, and its result."""
    module, _, name = function.partition(":")
    function = getattr(importlib.import_module(module), name)  # not within the limit: a new worker takes a second
    limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)
    try:
        return True, function(*arguments)
    except Exception:
        # Not raised, because an exception that cannot be unpickled would kill the pool's thread.
        traceback.print_exc()
        return False, None


def limit(kind: int, value: int) -> None:
    """Lower a limit of this process, unless it is already lower."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
