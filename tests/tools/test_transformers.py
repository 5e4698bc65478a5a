"""The Trainer with `hra.OrthogonalityCallback`: a step of micro-batches is the step of one batch, on any processes."""

import pytest
import torch
import transformers
from peft import HRAConfig, get_peft_model
from sidebyside import llama, vectors
from torch import nn

import hra
from own_code import blocks
from two_ranks import on_two_ranks

LAM = 0.5
CALLBACK, COMPUTE_LOSS = blocks("transformers")


def language_model() -> nn.Module:
    """Build a model whose gradient is about as large as that of the penalty."""
    return llama(initializer_range=0.2)


class Classifier(nn.Module):
    """A model that does not take `num_items_in_batch`, whose losses the Trainer divides itself."""

    def __init__(self):
        super().__init__()
        self.embedding, self.q_proj, self.v_proj = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 50)

    def forward(self, input_ids, labels):
        logits = self.v_proj(self.q_proj(self.embedding(input_ids)).tanh())
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def settings(folder, batch: int, steps: int, **options) -> transformers.TrainingArguments:
    fixed = {
        "optim": "sgd",
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "max_steps": 1,
    }
    silent = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1}
    return transformers.TrainingArguments(
        str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=steps,
        **fixed | silent | options,
    )


def rows_of(build, count: int = 8) -> list[dict]:
    ids = torch.randint(0, 50, (count, 6), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row.roll(1) if build is Classifier else row} for row in ids]


def adapted(build) -> nn.Module:
    torch.manual_seed(1)
    return get_peft_model(build(), HRAConfig(r=4, target_modules=["q_proj"], init_weights=False))


def trained(build, arguments, lam: float = LAM, trainer=None, count: int = 8) -> tuple:
    """Return the trained vectors and the Trainer, which has the callback if `trainer` is None."""
    callbacks = [] if trainer else [hra.OrthogonalityCallback(lam)]
    model = adapted(build)
    kind = trainer or transformers.Trainer
    trainer = kind(model, arguments, train_dataset=rows_of(build, count), callbacks=callbacks)
    trainer.train()
    return vectors(model), trainer


@pytest.mark.parametrize("build", [language_model, Classifier])
def test_the_penalty_counts_once_for_all_accumulation_steps(build, tmp_path):
    def after(steps: int, lam: float) -> torch.Tensor:
        torch.manual_seed(1)
        arguments = settings(tmp_path, 8 // steps, steps)
        names = {"lam": lam, "arguments": arguments, "model": build(), "dataset": rows_of(build)}
        torch.manual_seed(1)
        exec(CALLBACK.replace("r=8", "r=4, init_weights=False").replace("ADAPTER", str(tmp_path / "adapter")), names)
        return vectors(names["model"])

    whole = after(1, LAM)
    for steps in (2, 4):
        torch.testing.assert_close(after(steps, LAM), whole, rtol=0, atol=1e-6)
    assert (whole - after(1, 0.0)).norm() > 1e-3


@pytest.mark.parametrize("build", [language_model, Classifier])
def test_the_step_is_that_of_loss_plus_penalty(build, tmp_path):
    """One step by hand: the gradient is clipped, and the last group of an epoch is incomplete (12 rows, 8 a step)."""
    model = adapted(build)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    rows = rows_of(build, 12)
    loader = transformers.Trainer(model, settings(tmp_path, 12, 1), train_dataset=rows).get_train_dataloader()
    (order,) = loader
    for some in (slice(0, 8), slice(8, 12)):
        loss = model(**{name: value[some] for name, value in order.items()})["loss"]
        (loss + LAM * hra.orthogonality_penalty(model)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
    arguments = settings(tmp_path, 2, 4, max_grad_norm=0.1, max_steps=2)
    found, trainer = trained(build, arguments, count=12)
    torch.testing.assert_close(found, vectors(model), rtol=0, atol=1e-6)
    exec(COMPUTE_LOSS, names := {"transformers": transformers, "hra": hra, "lam": LAM})
    own, with_penalty = trained(build, arguments, trainer=names["PenalisedTrainer"], count=12)
    torch.testing.assert_close(own, found, rtol=0, atol=1e-6)
    first = hra.orthogonality_penalty(adapted(build)).item()
    log, log_with_penalty = trainer.state.log_history[0], with_penalty.state.log_history[0]
    assert log["penalty"] == pytest.approx(first)
    assert log["loss"] == pytest.approx(log_with_penalty["loss"] - LAM * first)


@pytest.mark.parametrize("option", ["bf16", "activation_checkpointing"])
def test_options_of_the_trainer(option, tmp_path):
    one, _ = trained(language_model, settings(tmp_path, 2, 4))
    other, _ = trained(language_model, settings(tmp_path, 2, 4, **{option: True}))
    without, _ = trained(language_model, settings(tmp_path, 2, 4, **{option: True}), lam=0)
    torch.testing.assert_close(other, one, rtol=0, atol=2e-3 if option == "bf16" else 1e-6)
    assert (other - without).norm() > 1e-2


def on_a_rank(folder) -> dict[str, torch.Tensor]:
    """Train with clipping and evaluations between the steps, whose passes DDP sees, too."""
    options = {"max_grad_norm": 0.1, "max_steps": 3, "eval_strategy": "steps", "eval_steps": 1}
    batch = 2 if torch.distributed.is_initialized() else 4
    found = {}
    for build in (language_model, Classifier):
        model = adapted(build)
        rows = rows_of(build)
        arguments = settings(folder, batch, 2, **options)
        callbacks = [hra.OrthogonalityCallback(LAM)]
        trainer = transformers.Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, callbacks=callbacks)
        trainer.train()
        found[build.__name__] = vectors(model)
    return found


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    one = on_a_rank(tmp_path)
    for rank in on_two_ranks(on_a_rank, tmp_path, tmp_path):
        torch.testing.assert_close(rank, one, rtol=0, atol=1e-6)
