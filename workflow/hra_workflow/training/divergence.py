"""Divergence: training ends if the loss or weights are not finite, and the record has the status `diverged`.

This is a result of the settings: the run is not trained again, not evaluated, and not included in means.
"""

import math

import torch
from transformers import TrainerCallback

LOSSES = {
    "loss": "training loss",
    "eval_loss": "loss of an evaluation",
}  # by their names in the Trainer's log


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
