"""The number of optimiser steps of a training, and how often each of them counts a method's penalty."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from transformers import Trainer, TrainingArguments

from hra_workflow.training import diffusion_trainer, hf_trainer, optimizers


@pytest.mark.parametrize(
    ("rows", "batch_size", "gradient_accumulation", "epochs", "steps"),
    [
        (16, 8, 2, 3, 6),
        (17, 8, 2, 3, 9),  # the last step of an epoch is of one row
        (20, 8, 1, 1.5, 5),  # 4.5 steps
    ],
)
def test_the_number_of_steps_is_that_of_transformers(tmp_path, rows, batch_size, gradient_accumulation, epochs, steps):
    settings = {"batch_size": batch_size, "gradient_accumulation": gradient_accumulation, "epochs": epochs}
    assert optimizers.total_steps(rows, settings) == steps
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size // gradient_accumulation,
        gradient_accumulation_steps=gradient_accumulation,
        use_cpu=True,
    )
    trainer = Trainer(torch.nn.Linear(1, 1), arguments, train_dataset=[{"x": 0.0}] * rows)
    assert trainer.set_initial_training_values(arguments, trainer.get_train_dataloader())[-1] == steps
    assert optimizers.total_steps(rows, settings | {"max_steps": 7}) == 7


@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_step_of_a_diffusion_model_counts_the_penalty_once(monkeypatch, accumulation):
    """The gradient of 2 w + 5 w, however many micro-batches its mean is over."""
    weight = torch.nn.Parameter(torch.ones(()))
    monkeypatch.setattr(optimizers, "penalty", lambda *_: 5 * weight)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    accelerator = SimpleNamespace(
        no_sync=lambda _: contextlib.nullcontext(), backward=torch.Tensor.backward, num_processes=1
    )
    trainer = SimpleNamespace(
        settings={"gradient_accumulation": accumulation, "max_grad_norm": 0},
        loss=lambda _: 2 * weight,
        micro_batch=list,
        optimizer=optimizer,
        schedule=SimpleNamespace(step=lambda: None),
        **dict.fromkeys(("model", "unwrapped", "method")),
        accelerator=accelerator,
    )
    trainer.micro_batch = lambda number: number
    assert diffusion_trainer.Trainer.step(trainer, 0) == pytest.approx(2)  # the recorded loss has no penalty
    assert weight.item() == pytest.approx(1 - (2 + 5))


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("scaled", [True, False])
def test_a_step_of_transformers_counts_the_penalty_once(monkeypatch, accumulation, scaled):
    """transformers divides the loss of a micro-batch, unless it is scaled, by their number, and adds them up."""
    monkeypatch.setattr(optimizers, "penalty", lambda *_: torch.tensor(5.0))
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        method={},
        current_gradient_accumulation_steps=accumulation,
        loss_is_scaled_for_ga=scaled,
    )
    model, loss = SimpleNamespace(training=True), torch.tensor(2.0 / (accumulation if scaled else 1))
    parts = [hf_trainer.Resumable.penalised(trainer, model, loss) for _ in range(accumulation)]
    assert sum(parts) / (1 if scaled else accumulation) == pytest.approx(2 + 5)
    assert hf_trainer.Resumable.penalised(trainer, SimpleNamespace(training=False), loss) == loss


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_share_the_samples_of_a_diffusion_model(processes):
    """Each sample is read once, and a step of any number of processes has the same ones."""

    def read(micro_batch: int, process: int) -> list[int]:
        trainer = SimpleNamespace(
            accelerator=SimpleNamespace(num_processes=processes, process_index=process),
            settings={"batch_size": 8, "gradient_accumulation": 2},
            readers=SimpleNamespace(submit=lambda get, sample: get(sample)),
            samples=range(100),
        )
        return diffusion_trainer.Trainer.read(trainer, micro_batch)

    for step in range(3):
        found = [n for part in range(2) for process in range(processes) for n in read(2 * step + part, process)]
        assert found == list(range(8 * step, 8 * step + 8))
