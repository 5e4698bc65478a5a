"""The transformers Trainer of a run, with its method's penalty and checkpoints from which it resumes exactly."""

from pathlib import Path
from pkgutil import resolve_name

import torch
from accelerate.utils import send_to_device
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

from hra_workflow import methods
from hra_workflow.core import files, gpus
from hra_workflow.models import adapters
from hra_workflow.training import callbacks, checkpoints, optimizers
from hra_workflow.training.length_windows import order

EPOCH = "epoch_random_state_{}.pt"  # one per process


def training_arguments(job: dict, settings: dict, device: str, kind: type = TrainingArguments, **task):
    """Return the TrainingArguments of a run, or their subclass `kind`; `task`: additional arguments of its task."""
    per_device = settings["batch_size"] // (settings["gradient_accumulation"] * gpus.processes(job))
    seed, scratch = int(job["wildcards"]["seed"]), Path(job["params"]["scratch"])
    return kind(
        output_dir=str(scratch / checkpoints.UNSEALED),
        num_train_epochs=settings.get("epochs", 1),
        max_steps=settings.get("max_steps", -1),
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=job["params"].get("eval_batch_size") or per_device,
        gradient_accumulation_steps=settings["gradient_accumulation"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        adam_epsilon=settings["adam_epsilon"],
        lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup_steps"],
        train_sampling_strategy="group_by_length" if settings.get("group_by_length") is True else "random",
        bf16=settings["precision"] == "bf16",
        fp16=settings["precision"] == "fp16",
        logging_nan_inf_filter=False,  # otherwise it logs another number instead of NaN
        save_strategy="no",  # CheckpointOnSignal requests them
        seed=seed,
        data_seed=seed,
        use_cpu=device == "cpu",
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=device == "cuda",
        accelerator_config={"non_blocking": device == "cuda"},  # an asynchronous copy would wait for the step before it
        report_to="none",
        disable_tqdm=True,
        **task,
    )


class Resumable:
    """Give a Trainer the penalty and the callbacks of a method, and checkpoints of only the trained parameters.

    settings: the run's hyper-parameters, which give the order of rows and the head's learning rate. head: its modules.
    """

    per_process = True  # dropout and the order of rows depend on the number of processes
    restart_every = 1  # steps between those whose checkpoints contain the complete state
    packages: tuple[str, ...] = ()  # whose version changes the results

    def __init__(self, *arguments, method: dict, settings: dict, head=(), **keywords):
        super().__init__(*arguments, **keywords)
        self.settings, self.head, self.method = settings, head, method
        self.epoch_start = EpochStart()
        self.add_callback(self.epoch_start)
        self.add_callback(callbacks.EndAtDivergence())
        self.method_callbacks = [resolve_name(name)() for name in methods.entry(method).callbacks]
        for callback in self.method_callbacks:
            self.add_callback(callback)

    def create_optimizer(self, model=None):
        is_new = self.optimizer is None
        super().create_optimizer(model)
        if is_new and "head_learning_rate" in self.settings:
            optimizers.set_head_rate(self.optimizer, self.model, self.head, self.settings["head_learning_rate"])
        return self.optimizer

    def get_train_dataloader(self):
        """Return the loader, which leaves batches on the host: `get_batch_samples` copies them.

        After a resumption, accelerate's would wait for every copy (github.com/huggingface/accelerate/issues/4295).
        """
        loader = super().get_train_dataloader()
        loader.device = None
        return loader

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        on_gpu = torch.device(device).type == "cuda"
        copied = (send_to_device(batch, device, non_blocking=on_gpu) for batch in epoch_iterator)
        return super().get_batch_samples(copied, num_batches, device)

    def penalised(self, model, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss of a training step with the method's penalty."""
        added = optimizers.penalty(self.accelerator.unwrap_model(model), self.method) if model.training else None
        if added is None:
            return loss
        # The Trainer sums the losses of the accumulation steps; a scaled loss is already its share of the mean.
        return loss + added / (self.current_gradient_accumulation_steps if self.loss_is_scaled_for_ga else 1)

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        # The Trainer's rotation (save_total_limit) would delete the older checkpoint before this one is sealed.
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            checkpoints.seal(Path(self.args.output_dir, f"{checkpoints.PREFIX}{self.state.global_step}"))
        # Wait for the seal: when one process ends, the others are stopped.
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir=None, state_dict=None):
        folder = Path(output_dir)
        checkpoints.save_trained(self.model, folder)
        for callback in self.method_callbacks:
            callback.save_state(self.model, folder)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        # After the last step of an epoch, the next epoch starts from the current state.
        state = self.epoch_start.random_state if self.state.epoch % 1 else torch.get_rng_state()
        torch.save(state, Path(output_dir) / EPOCH.format(self.args.process_index))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        folder = Path(resume_from_checkpoint)
        self.epoch_start.resumed = torch.load(folder / EPOCH.format(self.args.process_index), weights_only=True)
        checkpoints.load_trained(self.model, folder)
        for callback in self.method_callbacks:
            callback.load_state(self.model, folder)

    def resume(self, checkpoint: Path) -> None:
        """Restore the weights and the history of a finished training run."""
        self._load_from_checkpoint(checkpoint)
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))


class ResumableTrainer(Resumable, Trainer):
    """The Trainer of classifiers and of language models that learn from answers."""

    def __init__(self, *arguments, mean_over_tokens: bool = False, **keywords):
        super().__init__(*arguments, **keywords)
        # Classifiers return the mean over a batch and ignore the number of items; a language model divides by the
        # number of tokens with a loss in the effective batch, over all accumulation steps and processes.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = mean_over_tokens

    def _get_train_sampler(self, train_dataset=None):
        rows, batch = self.train_dataset["input_ids"], self.args.per_device_train_batch_size
        own = order(self.settings, rows, batch, self.args.data_seed)
        return super()._get_train_sampler(train_dataset) if own is None else own

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        loss = self.penalised(model, loss)
        return (loss, outputs) if return_outputs else loss


class EpochStart(TrainerCallback):
    """Keep the random state at the start of the epoch, and restore it when training resumes inside one.

    LengthGroupedSampler samples the epoch's order of rows from it. The Trainer restores only the state at the
    checkpoint, and only after it has sampled the order.
    """

    def __init__(self):
        self.random_state = self.resumed = None

    def on_epoch_begin(self, args, state, control, **_):
        if self.resumed is not None:
            torch.set_rng_state(self.resumed)
            self.resumed = None
        self.random_state = torch.get_rng_state()


class KeepBest(TrainerCallback):
    """Saves the weights whenever the dev score, multiplied by `sign`, is higher than at every earlier evaluation.

    The history is the Trainer's log, which is part of its checkpoints: a resumed run finds the same best step.
    """

    def __init__(self, folder: Path, score: str, model, sign: int):
        self.folder, self.score, self.model, self.sign = folder, score, model, sign

    def on_evaluate(self, args, state, control, **_):
        scores = [self.sign * entry["metrics"][self.score] for entry in curve(state.log_history, [self.score])]
        if args.process_index == 0 and scores and scores[-1] > max(scores[:-1], default=float("-inf")):
            with files.replacing_folder(self.folder) as new:
                adapters.save(self.model, new)


def curve(log_history: list[dict], metrics: list[str]) -> list[dict]:
    """List the evaluations during training in order: step, epoch and metrics (as fractions, not percent).

    A metric that was added to the config between two attempts is missing in the evaluations of the first.
    """
    return [
        {
            "step": entry["step"],
            "epoch": entry["epoch"],
            "metrics": {name: entry[f"eval_{name}"] for name in metrics if f"eval_{name}" in entry},
        }
        for entry in log_history
        if "eval_loss" in entry
    ]
