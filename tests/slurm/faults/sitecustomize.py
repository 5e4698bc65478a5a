"""Loaded by every Python process of a test's Snakemake: makes jobs fail as on a cluster (test_failures.py).

The first shard fails twice. An HRA training job exceeds its memory after saving a checkpoint; the other training jobs
are suspended (SIGSTOP) as soon as they have saved one, until the test injects its fault.
"""

import contextlib
import os
import signal
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


def stand_still(scratch: Path, released: Path) -> None:
    released.with_suffix(".pid").write_text(str(os.getpid()))
    born = time.time()
    while not released.exists():
        with contextlib.suppress(FileNotFoundError):  # an older state gives way to the new one
            if any(path.stat().st_mtime > born for path in scratch.glob("checkpoint-*/complete")):
                os.kill(os.getpid(), signal.SIGSTOP)
                return
        time.sleep(0.02)


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
    if job.startswith("train_glue:"):
        values = dict(pair.split("=") for pair in job.partition(":")[2].split(","))
        scratch = Path("scratch/glue/sentences", values["method"], values["variant"], "seed0")
        released = Path(os.environ["HRA_FAULTS"], values["method"])
        fault = (use_memory, scratch, 1000) if values["method"] == "hra" else (stand_still, scratch, released)
        threading.Thread(target=fault[0], args=fault[1:], daemon=True).start()
