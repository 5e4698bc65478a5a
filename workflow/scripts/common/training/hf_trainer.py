"""A transformers Trainer whose state survives: saved on a timer, before the time limit, on a signal; exact resume."""

import shutil
import signal
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback

from common import methods
from common.core import files
from common.models import adapters
from common.training import checkpoints
from common.training.penalties import penalty

TRAINED = "trained.safetensors"
EPOCH = "epoch_random_state_{}.pt"  # of one process
# Enough to write the state of a 7B adapter to a slow disk; of a short job a tenth.
MARGIN_SECONDS = 120
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Interrupted(Exception):
    """Training stopped before its last step; its state is saved."""


class ResumableTrainer(Trainer):
    """Trainer with the penalty and the callbacks of a method, and checkpoints of only what is trained."""

    per_process = True  # dropout and the order of rows follow the number of processes

    def __init__(self, *arguments, method: dict, mean_over_tokens: bool = False, **keywords):
        super().__init__(*arguments, **keywords)
        # Classifiers return the mean over a batch whatever they are told about the number of items; a language model
        # divides by the number of learned tokens in the whole batch, over all accumulation steps and processes.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = mean_over_tokens
        self.method = method
        self.epoch_start = EpochStart()
        self.add_callback(self.epoch_start)
        self.method_callbacks = [methods.imported(name)() for name in methods.METHODS[method["kind"]].callbacks]
        for callback in self.method_callbacks:
            self.add_callback(callback)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if model.training and (added := penalty(self.accelerator.unwrap_model(model), self.method)) is not None:
            # The Trainer adds up the losses of the accumulation steps; those of tokens are shares of the mean already.
            shares = self.current_gradient_accumulation_steps if self.loss_is_scaled_for_ga else 1
            loss = loss + added / shares
        return (loss, outputs) if return_outputs else loss

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        # The Trainer's own rotation (save_total_limit) would remove the older checkpoint before this one is sealed.
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            checkpoints.seal(Path(self.args.output_dir) / f"{checkpoints.PREFIX}{self.state.global_step}")
        # A process that ends has the others stopped: not before the seal.
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir=None, state_dict=None):
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(adapters.trained_state(self.model), folder / TRAINED)
        for callback in self.method_callbacks:
            callback.save_state(self.model, folder)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        # After the last step of an epoch, the next one starts from the present state.
        state = self.epoch_start.random_state if self.state.epoch % 1 else torch.get_rng_state()
        torch.save(state, Path(output_dir) / EPOCH.format(self.args.process_index))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        folder = Path(resume_from_checkpoint)
        start = folder / EPOCH.format(self.args.process_index)
        if start.exists():  # checkpoints from before 2026-11-26 lack it
            self.epoch_start.resumed = torch.load(start, weights_only=True)
        state = load_file(folder / TRAINED)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in state:
                    parameter.copy_(state[name])
        for callback in self.method_callbacks:
            callback.load_state(self.model, folder)


class EpochStart(TrainerCallback):
    """Keep the random state at the start of the epoch, and restore it when training resumes inside one.

    LengthGroupedSampler draws the epoch's order of rows from it. The Trainer restores only the state at the checkpoint,
    and only after it has drawn the order.
    """

    def __init__(self):
        self.random_state = self.resumed = None

    def on_epoch_begin(self, args, state, control, **_):
        if self.resumed is not None:
            torch.set_rng_state(self.resumed)
            self.resumed = None
        self.random_state = torch.get_rng_state()


class Survive(TrainerCallback):
    """Ask for a checkpoint every `save_seconds`, on SIGTERM, SIGINT or SIGUSR1, and before the job is killed at `end`.

    After a signal or near the limit training stops too: `stopped` says why. `end` is in seconds of the monotonic clock.
    Signals are caught inside `with survive:`; a second SIGINT is a KeyboardInterrupt as ever.
    """

    def __init__(self, save_seconds: float, end: float | None):
        self.save_seconds = save_seconds
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
        reason = self.agreed(self.stopped is not None, args)
        due = self.agreed(time.monotonic() - self.last_save > self.save_seconds, args)
        if reason or due:
            control.should_save = True
            self.last_save = time.monotonic()
        if reason and state.global_step < state.max_steps:
            self.stopped = self.stopped or "another process was told to stop"
            control.should_training_stop = True
        return control

    @staticmethod
    def agreed(wish: bool, args) -> bool:
        """True if any process wishes it: all must save at the same step."""
        if args.world_size == 1:
            return wish
        flag = torch.tensor(float(wish), device=args.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())


class KeepBest(TrainerCallback):
    """Save the weights whenever the dev score is higher than at every earlier evaluation.

    The history is the Trainer's own log, which its checkpoints hold: a resumed training finds the same best step.
    """

    def __init__(self, folder: Path, score: str, model):
        self.folder, self.score, self.model = folder, score, model

    def on_evaluate(self, args, state, control, **_):
        scores = [entry["metrics"][self.score] for entry in curve(state.log_history, [self.score])]
        if args.process_index == 0 and scores and scores[-1] > max(scores[:-1], default=float("-inf")):
            new = self.folder.with_name(self.folder.name + ".new")
            shutil.rmtree(new, ignore_errors=True)
            adapters.save(self.model, new)
            files.replace_folder(new, self.folder)


def curve(log_history: list[dict], metrics: list[str]) -> list[dict]:
    """Evaluations of a training in order: step, epoch and metrics (as fractions, not percent)."""
    return [
        {"step": entry["step"], "epoch": entry["epoch"], "metrics": {name: entry[f"eval_{name}"] for name in metrics}}
        for entry in log_history
        if f"eval_{metrics[0]}" in entry
    ]
