"""The Trainer of docs/your-own-code.md: a step of micro-batches is the step of one batch."""

from pathlib import Path

import pytest
import torch
from peft import HRAConfig, get_peft_model
from sidebyside import llama
from torch import nn
from transformers import TrainingArguments

import hra
from own_code import blocks


class Classifier(nn.Module):
    """A model that does not take `num_items_in_batch`, whose losses the Trainer divides itself."""

    def __init__(self):
        super().__init__()
        self.embedding, self.q_proj, self.head = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 50)

    def forward(self, input_ids, labels):
        logits = self.head(self.q_proj(self.embedding(input_ids)).tanh())
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def stepped(trainer: type, model: nn.Module, rows: list[dict], steps: int, folder: Path) -> torch.Tensor:
    """Return the trained vectors after one step of the optimizer over all rows, in `steps` micro-batches."""
    torch.manual_seed(0)
    model = get_peft_model(model, HRAConfig(r=4, target_modules=["q_proj"], init_weights=False))
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=len(rows) // steps,
        gradient_accumulation_steps=steps,
        max_steps=1,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer(model=model, args=arguments, train_dataset=rows).train()
    return torch.cat([one.detach().flatten() for name, one in model.named_parameters() if "hra_u" in name])


@pytest.mark.parametrize("build", [llama, Classifier])
def test_the_penalty_counts_once_for_all_accumulation_steps(build, tmp_path):
    (example,) = blocks("transformers")
    names = {"hra": hra, "lam": 0.5}
    exec(example, names)
    ids = torch.randint(0, 50, (8, 6), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": row, "labels": row.roll(1) if build is Classifier else row} for row in ids]

    def after(steps: int, lam: float = 0.5) -> torch.Tensor:
        names["lam"] = lam
        torch.manual_seed(1)
        return stepped(names["PenalisedTrainer"], build(), rows, steps, tmp_path)

    whole = after(1)
    torch.testing.assert_close(after(4), whole, rtol=0, atol=1e-6)
    assert (whole - after(1, lam=0.0)).norm() > 1e-3
