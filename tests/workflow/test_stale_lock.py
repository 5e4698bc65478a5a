"""commands/lock.py: only the lock of a Snakemake that is known to have ended is removed."""

import os
import socket
import subprocess
import sys
import time

from hra_workflow.cost import run_history, stale_lock
from test_status import HISTORY, process, touch

PROGRAM = "import sys; from hra_workflow.commands import lock; sys.exit(lock.remove(sys.argv[1:]))"
UNLOCK = [sys.executable, "-c", PROGRAM, "sh", "-c", "rm -r .snakemake/locks"]


def test_the_lock_of_a_dead_snakemake_only_is_removed(here):
    """The lock is written before the run is recorded. Nothing is known of a lock that is newer than all records."""
    lock, now = stale_lock.LOCKS / "0.output.lock", time.time()

    def unlocked() -> tuple[bool, str]:
        done = subprocess.run(UNLOCK, check=True, capture_output=True, text=True)
        return not lock.exists(), done.stderr

    assert unlocked() == (True, "")
    touch(str(lock), now)
    for started, facts, expected in (
        (now + 1, {}, f"process {os.getpid()} on {socket.gethostname()}: running"),
        (now + 1, {"host": "elsewhere"}, "on elsewhere: it cannot be observed from"),
        (now + 1, {"pid_namespace": "another"}, "it is in another container"),
        (now - 60, {"start": "1"}, stale_lock.UNKNOWN),
        (now - 60, {"host": "elsewhere"}, stale_lock.UNKNOWN),  # killed there long ago
    ):
        process(started, **facts)
        assert (found := unlocked())[0] is False and expected in found[1] and "--unlock" in found[1]
    process(now + 1000, start="1")
    run_history.begin(path := HISTORY.parents[1] / "other" / HISTORY.name, "2")  # with other results, at the same time
    touch(str(lock), path.stat().st_mtime - 1)
    assert "running" in unlocked()[1]
    run_history.append(path, "2", run_history.ENDED)
    assert unlocked() == (True, "The last Snakemake in this folder was killed. Its lock is removed.\n")
    touch(str(lock), now)
    failing = [*UNLOCK[:3], "sh", "-c", "echo no Snakefile; exit 3"]
    done = subprocess.run(failing, capture_output=True, text=True)
    assert done.returncode == 3 and "no Snakefile" in done.stderr
