"""Call functions in worker processes that end when they take too much processor time or memory.

The kernel's limits end a worker (pebble starts the next one): a signal handler in the same process would not do, since
Python runs it between two steps of the interpreter, and 9**9**9**9 is one step. Processor time and not pebble's
`timeout` of wall time, so that a busy machine does not change a verdict.
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
MEMORY = 2 << 30

workers = threading.local()


def call(function: str, *arguments):
    """Return `module:function` of the arguments; TimeoutError where it exceeds a limit or fails on its input."""
    if not hasattr(workers, "own"):
        workers.own = Worker()
    try:
        succeeded, result = workers.own.pool.schedule(limited, (function, arguments, SECONDS)).result()
    except ProcessExpired as problem:
        if problem.exitcode > 0:
            raise RuntimeError(f"the process for {function} ended with exit status {problem.exitcode}") from problem
        succeeded = False
    if not succeeded:
        raise TimeoutError(f"no result of {function} within {SECONDS} s of processor time and {MEMORY >> 30} GiB")
    return result


class Worker:
    """One worker process, which answers one call after the other and ends with the thread that calls."""

    def __init__(self):
        # Spawned, not forked: other threads may hold locks at the time of the fork.
        self.pool = ProcessPool(1, initializer=begin, context=multiprocessing.get_context("spawn"))
        weakref.finalize(self, end, self.pool)


def end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def begin() -> None:
    """Limit this process's memory, and keep it quiet."""
    logging.disable(logging.WARNING)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_AS, MEMORY)


def limited(function: str, arguments: tuple, seconds: int) -> tuple[bool, object]:
    """Return whether the function succeeds within so much processor time, and its result."""
    limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)
    module, _, name = function.partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        return True, function(*arguments)
    except Exception:
        # Not raised: an exception that cannot be unpickled would end the pool's thread.
        traceback.print_exc()
        return False, None


def limit(kind: int, value: int) -> None:
    """Lower a limit of this process, as far as it is not lower already."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
