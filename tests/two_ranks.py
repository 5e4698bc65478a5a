"""Two processes of one group (gloo, CPU) in a test."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import hra
import train_math
from hra_workflow.training import callbacks
from saved_states import stop_after

LIMIT = 120  # seconds until processes that wait for each other are ended


def on_two_ranks(worker, folder: Path, *args) -> list:
    """Return what `worker(*args)` returns in each of two processes."""
    # A server that has the imports behind it and no threads forks the processes.
    preloaded = ["peft", "transformers.trainer", "transformers.models.llama.modeling_llama"]
    mp.get_context("forkserver").set_forkserver_preload(preloaded)
    context = mp.start_processes(_rank, (worker, folder, args), nprocs=2, join=False, start_method="forkserver")
    deadline = time.monotonic() + LIMIT
    try:
        while not context.join(timeout=max(0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"the processes were not done after {LIMIT} s"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _rank(rank, worker, folder, args):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    # A file as the meeting place, not a port, which another process could take.
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=LIMIT))
    hra.install()
    torch.save(worker(*args), folder / f"{rank}.pt")
    dist.destroy_process_group()


def train_one_rank(job: dict, step: int | None = None) -> None:
    """Train as one of two processes; after `step`, one of them is interrupted."""
    if step is None:
        train_math.main(job)
    elif dist.get_rank() == 1:
        stop_after(step, lambda: train_math.main(job))
    else:
        with pytest.raises(callbacks.Interrupted, match="another process was interrupted"):
            train_math.main(job)
