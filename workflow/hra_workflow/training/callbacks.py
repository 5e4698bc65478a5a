"""Callbacks at the steps of a training run: checkpoints and interruptions, divergence, and the time of a step.

A loss or weights that are not finite are a result of the settings: the run has the status `diverged`, and is not
trained again, not evaluated, and not included in means.

transformers' `enable_jit_checkpoint` (5.24) does not replace CheckpointOnSignal: it saves also between forward pass and
update (a resumed BERT had other weights, by 0.001), only on SIGTERM, and the processes do not agree on a step.
"""

import math
import os
import signal
import statistics
import time

import torch
from transformers import TrainerCallback

from hra_workflow.core import gpus, rates

# Enough to write the checkpoint of a 7B adapter to a slow disk; a tenth of a short job.
MARGIN_SECONDS = 120
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
LOSSES = {"loss": "training loss", "eval_loss": "loss of an evaluation"}  # by their names in the Trainer's log
WARM_UP = 2  # steps whose times are excluded


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
        now = self.last_save = time.monotonic()
        self.limit = end - min(MARGIN_SECONDS, 0.1 * (end - now)) if end else None
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
            return
        reason = self.agreed(self.stopped is not None, args)
        due = self.agreed(time.monotonic() - self.last_save > self.save_seconds, args)
        if reason or due:
            control.should_save = control.should_log = True  # the mean since the last log is in no checkpoint
            self.last_save = time.monotonic()
        if state.global_step == state.max_steps:  # a finished job may be repeated: core/lock.py
            control.should_save = True
        if reason and state.global_step < state.max_steps:
            self.stopped = self.stopped or "another process was interrupted"
            control.should_training_stop = True

    @staticmethod
    def agreed(request: bool, args) -> bool:
        """Return True in every process if one of them requests a checkpoint, since all must save at the same step."""
        if args.world_size == 1:
            return request
        flag = torch.tensor(float(request), device=args.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())


def time_limit() -> float | None:
    """Return the time of the limit that Slurm states (since 22.05), in seconds of the monotonic clock, or None."""
    end = os.environ.get("SLURM_JOB_END_TIME")
    return time.monotonic() + float(end) - time.time() if end else None


def check_loss(value: float, step: int, what: str = LOSSES["loss"]) -> None:
    """Raise FloatingPointError, which attempts.recorded handles, unless a loss is a finite number."""
    if not math.isfinite(value):
        raise FloatingPointError(f"the {what} is {value} at step {step}")


def check_weights(model: torch.nn.Module, step: int) -> None:
    """Raise FloatingPointError unless the trained weights are finite: the last loss was computed before the last step.

    Gradients are summed over the processes, so all processes raise.
    """
    if not all(bool(torch.isfinite(one).all()) for one in model.parameters() if one.requires_grad):
        raise FloatingPointError(f"the trained weights are not finite after step {step}")


class EndAtDivergence(TrainerCallback):
    """Checks the losses in the Trainer's log, which are equal in all processes."""

    def on_log(self, args, state, control, logs, **_):
        for name in LOSSES.keys() & logs.keys():
            check_loss(logs[name], state.global_step, LOSSES[name])


class StepTimes(TrainerCallback):
    """Measures the median time of a step, or of the mean step of a period (core/rates.py).

    At step `kill_at` (0: never), the process sends SIGTERM to itself.
    """

    def __init__(self, kill_at: int):
        self.kill_at, self.ends = kill_at, []

    def on_step_end(self, args, state, control, **_):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(rates.clock())
        if state.global_step == self.kill_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def report(self, job: dict, device: str) -> None:
        steps = [after - before for before, after in zip(self.ends[:-1], self.ends[1:], strict=True)][WARM_UP - 1 :]
        settings = job["params"]["hyperparameters"]
        if found := rates.means(steps, rates.period(settings)):
            rates.report(settings["batch_size"], statistics.median(found) * gpus.processes(job), device)


def probe_callback(job: dict, resumed: bool) -> StepTimes | None:
    """Return the callback of a probe; None for any other run."""
    kill_at = job["params"]["hyperparameters"].get("kill_at_step")
    return None if kill_at is None else StepTimes(0 if resumed else kill_at)
