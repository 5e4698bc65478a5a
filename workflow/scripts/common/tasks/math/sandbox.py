"""Calls in a process of their own, ended when they take too much processor time or memory.

A signal handler in the same process is not enough: Python runs it between two steps of the interpreter, and
9**9**9**9 is one step. The kernel ends the helper process instead; the next call starts a new one. Processor time and
not wall time, so that a busy machine does not change a verdict.
"""

import contextlib
import importlib
import json
import logging
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from pathlib import Path

SECONDS = 5
MEMORY = 2 << 30

helpers = threading.local()


def call(function: str, *arguments):
    """`module:function` of the arguments (JSON values); TimeoutError where it broke a limit or failed on its input."""
    if not hasattr(helpers, "one"):
        helpers.one = Helper()
    return helpers.one.ask(function, arguments)


class Helper:
    """One process that answers one call after the other; it ends with the thread that asks."""

    def __init__(self):
        self.process = None

    def ask(self, function: str, arguments: tuple):
        if self.process is None:
            self.start()
        try:
            self.process.stdin.write(json.dumps([function, arguments, SECONDS]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.process, status = None, self.end()
            if status > 0:
                raise RuntimeError(f"the process for {function} could not work (exit status {status}), see above")
        if not line or "failed" in (reply := json.loads(line)):
            raise TimeoutError(f"no result of {function} within {SECONDS} s of processor time and {MEMORY >> 30} GiB")
        return reply["result"]

    def start(self) -> None:
        path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "common.tasks.math.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        self.end = weakref.finalize(self, end, self.process)


def end(process: subprocess.Popen) -> int:
    """Wait for the end of a process: its exit status, negative if a signal ended it."""
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    return process.wait()


def serve() -> None:
    """Answer calls, one JSON line each, until standard input ends."""
    # Libraries may print: only answers are to reach the asking process.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_AS, MEMORY)
    for line in sys.stdin:
        name, arguments, seconds = json.loads(line)
        module, _, function = name.partition(":")
        limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)
        try:
            reply = {"result": getattr(importlib.import_module(module), function)(*arguments)}
        except ImportError:
            raise
        except Exception:
            traceback.print_exc()
            reply = {"failed": True}
        print(json.dumps(reply), file=replies, flush=True)


def limit(kind: int, value: int) -> None:
    """Lower a limit of this process, as far as it is not lower already."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    serve()
