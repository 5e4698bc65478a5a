"""Loaded by every Python process of a test's Snakemake: makes jobs fail as on a cluster (test_failures.py).

The first shard fails twice. An HRA training job exceeds its memory after saving a checkpoint; the other training jobs
are suspended (SIGSTOP) as soon as they have saved one, until the test injects its fault. The evaluation of the sums
waits for the test, too. The Snakemake of the full fine-tuning's job is killed just when its training has finished.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

FIRST_LIMIT = 2500  # MB of a training job in grid.yaml; half as much again in a retry


def target() -> tuple[int, str]:
    """The Snakemake above this process, and the job that it runs, as its `--target-jobs` names it."""
    pid = os.getpid()
    while pid > 1:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if "--target-jobs" in words:
            return pid, words[words.index("--target-jobs") + 1]
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return 0, ""


def use_memory(scratch: Path) -> None:
    """Exceed the memory of a first attempt; in a retry use more than that, too, with the two Snakemakes of the job."""
    while not list(scratch.glob("checkpoint-*/trained.safetensors")):
        time.sleep(0.02)
    # In a job step of a pack, which is a first attempt, the variable has the memory of the pack.
    first = "PACKED_JOBS" in os.environ or int(os.environ["SLURM_MEM_PER_NODE"]) <= FIRST_LIMIT
    used = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    sys.held = b"x" * (FIRST_LIMIT + (200 if first else -300) - used << 20)
    if first:
        os.kill(os.getpid(), signal.SIGSTOP)  # until Slurm has seen it, which looks every two seconds


def stand_still(scratch: Path, released: Path) -> None:
    born = time.time()
    while not released.exists():
        with contextlib.suppress(FileNotFoundError):  # an older state gives way to the new one
            if any(path.stat().st_mtime > born for path in scratch.glob("checkpoint-*/trained.safetensors")):
                os.kill(os.getpid(), signal.SIGSTOP)
                return
        time.sleep(0.02)


def end_unnoted(snakemake: int, record: Path) -> None:
    """Kill the Snakemake of a training that has finished, once."""
    flag = Path(os.environ["HRA_FAULTS"], "unnoted")
    if record.exists() and not flag.exists():
        flag.touch()
        os.kill(snakemake, signal.SIGKILL)


if "RANK" in os.environ and any(word.endswith("train_math.py") for word in sys.orig_argv):
    Path(os.environ["HRA_FAULTS"], f"rank{os.environ['RANK']}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
if "/scripts/" in sys.orig_argv[-1]:
    snakemake, job = target()
    while job.startswith("evaluate_math:") and not Path(os.environ["HRA_FAULTS"], "evaluate_math").exists():
        time.sleep(0.1)
    if job.startswith("generate_math:") and "shard=0" in job:
        for count in ("first", "second"):
            try:
                Path(os.environ["HRA_FAULTS"], count).touch(exist_ok=False)
            except FileExistsError:
                continue
            print("the node's disk is full", file=sys.stderr)
            os._exit(1)
    if job.startswith("train_glue:") and "dataset=sentences" in job:
        values = dict(pair.split("=") for pair in job.partition(":")[2].split(","))
        scratch = Path("scratch/glue/sentences", values["method"], values["variant"], "seed0")
        released = Path(os.environ["HRA_FAULTS"], values["method"])
        if values["method"] == "full":
            atexit.register(end_unnoted, snakemake, Path("results", *scratch.parts[1:], "train.json"))
        fault = (use_memory, scratch) if values["method"] == "hra" else (stand_still, scratch, released)
        threading.Thread(target=fault[0], args=fault[1:], daemon=True).start()
