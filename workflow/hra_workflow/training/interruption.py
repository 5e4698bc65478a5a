"""Checkpoints and interruptions of training: on a timer, on a signal, and before the job's time limit."""

import os
import signal
import time

import torch
from transformers import TrainerCallback

# Enough to write the checkpoint of a 7B adapter to a slow disk; a tenth of a short job.
MARGIN_SECONDS = 120
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Interrupted(Exception):
    """Raised when training stops before its last step, after its checkpoint has been saved."""


class CheckpointOnSignal(TrainerCallback):
    """Request a checkpoint at the last step, every `save_seconds`, on a signal, and before the job is killed at `end`.

    After a signal or near the time limit training also stops, and `stopped` has the reason. `end` is in seconds of the
    monotonic clock. SIGTERM, SIGINT and SIGUSR1 are caught inside `with`; a second SIGINT raises KeyboardInterrupt.
    `every`: a run can only be resumed at the multiples of this number of steps, so it stops at one of them.
    """

    def __init__(self, save_seconds: float, end: float | None, every: int = 1):
        self.save_seconds, self.every = save_seconds, every
        now = time.monotonic()
        self.limit = end - min(MARGIN_SECONDS, 0.1 * (end - now)) if end else None
        self.last_save = now
        self.stopped: str | None = None

    def __enter__(self):
        self.handlers = {number: signal.signal(number, self.stop) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def stop(self, number, frame) -> None:
        self.stopped = f"signal {signal.Signals(number).name}"
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    def on_step_end(self, args, state, control, **_):
        if self.limit and time.monotonic() > self.limit:
            self.stopped = "the job's time limit is near"
        if state.global_step % self.every and state.global_step < state.max_steps:
            return control
        reason = self.agreed(self.stopped is not None, args)
        due = self.agreed(time.monotonic() - self.last_save > self.save_seconds, args)
        if reason or due:
            control.should_save = control.should_log = True  # the mean since the last log is in no checkpoint
            self.last_save = time.monotonic()
        if state.global_step == state.max_steps:  # a finished job may be repeated: core/finished_run.py
            control.should_save = True
        if reason and state.global_step < state.max_steps:
            self.stopped = self.stopped or "another process was interrupted"
            control.should_training_stop = True
        return control

    @staticmethod
    def agreed(request: bool, args) -> bool:
        """Return True in every process if one of them requests a checkpoint, since all must save at the same step."""
        if args.world_size == 1:
            return request
        flag = torch.tensor(float(request), device=args.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())


def time_limit(job: dict) -> float | None:
    """Return the time of the scheduler's limit, in seconds of the monotonic clock; None without a scheduler."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    # Slurm reports the end since version 22.05. Before that, assume that the job began just before this call.
    end = os.environ.get("SLURM_JOB_END_TIME")
    return time.monotonic() + (float(end) - time.time() if end else 60 * job["resources"]["runtime"])
