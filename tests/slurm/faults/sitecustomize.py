"""Read by every Python below a test's Snakemake: makes two jobs fail as they do on a cluster (test_failures.py).

The third training asks for memory that nobody planned, once it has saved a state; the first shard fails twice.
"""

import os
import sys
import threading
import time
from pathlib import Path


def target() -> str:
    """The job that this process is part of, as the `--target-jobs` of a Snakemake above it names it."""
    pid = os.getpid()
    while pid > 1:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if "--target-jobs" in words:
            return words[words.index("--target-jobs") + 1]
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return ""


def use_memory(scratch: Path, megabytes: int) -> None:
    while not list(scratch.glob("checkpoint-*/complete")):
        time.sleep(0.05)
    sys.held = b"x" * (megabytes << 20)


if "/scripts/" in sys.orig_argv[-1]:
    job = target()
    if job.startswith("generate_math:") and "shard=0" in job:
        for count in ("first", "second"):
            try:
                Path(os.environ["HRA_FAULTS"], count).touch(exist_ok=False)
            except FileExistsError:
                continue
            print("the node's disk is full", file=sys.stderr)
            os._exit(1)
    if job.startswith("train_glue:") and "method=hra" in job:
        scratch = Path("scratch/glue/sentences/hra/r8/seed0")
        threading.Thread(target=use_memory, args=(scratch, 1000), daemon=True).start()
