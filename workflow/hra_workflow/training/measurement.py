"""The measurement of a training step's time, and an intentional kill, for the probes of `hra-workflow smoke`."""

import os
import signal
import statistics

from transformers import TrainerCallback

from hra_workflow.core import gpus, rates

WARM_UP = 2  # steps that are excluded


class StepTimes(TrainerCallback):
    """Measures the median time of a step, or of the mean step of a period (core/rates.py).

    At step `kill_at` (0: never), the process sends SIGTERM to itself.
    """

    def __init__(self, kill_at: int):
        self.kill_at, self.ends = kill_at, []

    def on_step_end(self, args, state, control, **_):
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(rates.clock())
        if state.global_step == self.kill_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return control

    def report(self, job: dict, device: str) -> None:
        steps = [after - before for before, after in zip(self.ends[:-1], self.ends[1:], strict=True)][WARM_UP - 1 :]
        settings = job["params"]["hyperparameters"]
        if found := rates.means(steps, rates.period(settings)):
            rates.report(settings["batch_size"], statistics.median(found) * gpus.processes(job), device)


def probe_callback(job: dict, resumed: bool) -> StepTimes | None:
    """Return the callback of a probe; None for any other run."""
    kill_at = job["params"]["hyperparameters"].get("kill_at_step")
    return None if kill_at is None else StepTimes(0 if resumed else kill_at)
