"""The loops of docs/your-own-code.md: a step of micro-batches is the step of one batch."""

import accelerate
import pytest
import torch
from peft import HRAConfig, get_peft_model
from sidebyside import llama, vectors
from torch.utils.data import DataLoader

import hra
from own_code import blocks
from two_ranks import on_two_ranks

PLAIN, ACCELERATE = blocks("accelerate and PyTorch")
ROWS = torch.randint(0, 50, (8, 6), generator=torch.Generator().manual_seed(0))


def after(example: str, steps: int, lam: float = 0.5, ranks: int = 1) -> torch.Tensor:
    """Return the vectors after one step, which the length of the gradient determines."""
    torch.manual_seed(1)
    model = get_peft_model(llama(initializer_range=0.2), HRAConfig(r=4, target_modules=["q_proj"], init_weights=False))
    loader = DataLoader([{"input_ids": row, "labels": row} for row in ROWS], batch_size=len(ROWS) // steps // ranks)
    names = {"torch": torch, "accelerate": accelerate, "hra": hra, "accumulation": steps}
    exec(example.replace("AdamW", "SGD").replace("1e-3", "0.1"), names | {"model": model, "loader": loader, "lam": lam})
    return vectors(model)


@pytest.mark.parametrize("example", [PLAIN, ACCELERATE], ids=["plain", "accelerate"])
def test_the_penalty_counts_once_for_all_accumulation_steps(example):
    whole = after(PLAIN, 1)
    for steps in (1, 2, 4):
        torch.testing.assert_close(after(example, steps), whole, rtol=0, atol=1e-6)
    assert (whole - after(example, 1, lam=0.0)).norm() > 1e-3


def on_a_rank() -> torch.Tensor:
    return after(ACCELERATE.replace("Accelerator(", "Accelerator(cpu=True, "), 2, ranks=2)


@pytest.mark.slow
def test_accelerate_on_two_processes(tmp_path):
    for rank in on_two_ranks(on_a_rank, tmp_path):
        torch.testing.assert_close(rank, after(PLAIN, 1), rtol=0, atol=1e-6)
