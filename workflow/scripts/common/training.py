"""A transformers Trainer whose state survives: saved on a timer, before the time limit, on a signal; exact resume."""

import shutil
import signal
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

import hra
from common import adapters, files

TRAINED = "trained.safetensors"
ADALORA = "adalora.pt"
COMPLETE = "complete"
# Enough to write the state of a 7B adapter to a slow disk; of a short job a tenth.
MARGIN_SECONDS = 120


class Interrupted(Exception):
    """Training stopped before its last step; its state is saved."""


class ResumableTrainer(Trainer):
    """Trainer with the HRA penalty (paper, Eq. 6) and checkpoints of only what is trained."""

    def __init__(self, *arguments, method: dict, mean_over_tokens: bool = False, **keywords):
        super().__init__(*arguments, **keywords)
        # Classifiers return the mean over a batch whatever they are told about the number of items; a language model
        # divides by the number of learned tokens in the whole batch, over all accumulation steps and processes.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = mean_over_tokens
        self.method = method

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if self.method["lambda"] and model.training:
            penalty = hra.orthogonality_penalty(
                self.accelerator.unwrap_model(model), squared=self.method["penalty"] == "squared"
            )
            # The Trainer adds up the losses of the accumulation steps; those of tokens are shares of the mean already.
            shares = self.current_gradient_accumulation_steps if self.loss_is_scaled_for_ga else 1
            loss = loss + self.method["lambda"] * penalty / shares
        return (loss, outputs) if return_outputs else loss

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            keep_only(Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")

    def _save(self, output_dir=None, state_dict=None):
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(adapters.trained_state(self.model), folder / TRAINED)
        if self.method["kind"] == "adalora":
            torch.save(adalora_state(self.model), folder / ADALORA)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        folder = Path(resume_from_checkpoint)
        state = load_file(folder / TRAINED)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in state:
                    parameter.copy_(state[name])
        if self.method["kind"] == "adalora":
            set_adalora_state(self.model, torch.load(folder / ADALORA, weights_only=True))


def adalora_state(model) -> dict:
    """What AdaLoRA's allocator remembers between steps and PEFT does not save."""
    allocator = model.base_model.rankallocator
    return {name: getattr(allocator, name) for name in ("ipt", "exp_avg_ipt", "exp_avg_unc")} | {
        "rank_pattern": model.peft_config["default"].rank_pattern
    }


def set_adalora_state(model, state: dict) -> None:
    model.peft_config["default"].rank_pattern = state.pop("rank_pattern")
    for name, value in state.items():
        setattr(model.base_model.rankallocator, name, value)


class AllocateRanks(TrainerCallback):
    """AdaLoRA moves its rank budget after the gradients are there and before they are cleared."""

    def on_optimizer_step(self, args, state, control, model=None, **_):
        inner = model.module if hasattr(model, "module") else model
        inner.base_model.update_and_allocate(state.global_step + 1)


class Survive(TrainerCallback):
    """Ask for a checkpoint every `save_minutes`, on SIGTERM or SIGUSR1, and before `end`, when the job is killed.

    After a signal or near the limit training stops too: `stopped` says why.
    """

    def __init__(self, save_minutes: float, end: float | None):
        self.save_seconds = 60 * save_minutes
        self.limit = end - min(MARGIN_SECONDS, 0.1 * (end - time.time())) if end else None
        self.last_save = time.monotonic()
        self.stopped: str | None = None

    def on_train_begin(self, *_, **__):
        def stop(number, frame):
            self.stopped = f"signal {signal.Signals(number).name}"

        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, stop)

    def on_step_end(self, args, state, control, **_):
        if self.limit and time.time() > self.limit:
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


def keep_only(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, then remove the others; killed at any point, there is a whole one to resume from.

    An old one loses its mark first: half removed it would resume without its optimiser, and nobody would notice. That
    is why the Trainer's own rotation (save_total_limit), which comes before the mark, is not used.
    """
    (checkpoint / COMPLETE).touch()
    for old in checkpoint.parent.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if old != checkpoint:
            (old / COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(old)


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Newest checkpoint that was written to its end; those cut off are removed."""
    checkpoints = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    complete = [path for path in checkpoints if (path / COMPLETE).exists()]
    for path in checkpoints:
        if path not in complete:
            shutil.rmtree(path, ignore_errors=True)
    return complete[-1] if complete else None


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
