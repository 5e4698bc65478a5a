"""Parameter counts of the paper's models, and what is trainable."""

import json
from types import SimpleNamespace

import pytest
import torch

from hra_workflow.models import adapters
from hra_workflow.training import adalora
from support import method


def test_equal_runs_give_equal_files(tmp_path):
    path = tmp_path / "adapter_config.json"
    texts = []
    for order in (["b", "a"], ["a", "b"]):
        path.write_text(json.dumps({"target_modules": order, "r": 8}))
        adapters.sort_config(path)
        texts.append(path.read_text())
    assert texts[0] == texts[1]


def test_adalora_schedule_follows_the_number_of_steps():
    config = adapters.peft_config(method("adalora"), total_steps=200)
    assert (config.tinit, config.tfinal, config.total_step) == (20, 60, 200)
    stated = method("adalora")
    stated["peft"] |= {"tinit": 5, "tfinal": 7}  # as a preset may, in steps
    config = adapters.peft_config(stated, total_steps=200)
    assert (config.tinit, config.tfinal, config.total_step) == (5, 7, 200)


def test_adaloras_regulariser_is_the_mean_over_its_factors():
    """Check an A of twice unit length, with ‖4I − I‖_F = 3 √2, and an orthogonal B."""
    model = torch.nn.ParameterDict({"lora_A": 2 * torch.eye(2, 5), "lora_B": torch.eye(7, 2)})
    model.peft_config = {"default": SimpleNamespace(orth_reg_weight=0.5)}
    assert adalora.penalty(model, {}).item() == pytest.approx(0.5 * 3 * 2**0.5 / 2)


def test_ranks_are_allocated_after_each_step_counted_from_one():
    steps = []
    model = SimpleNamespace(base_model=SimpleNamespace(update_and_allocate=steps.append))
    for finished in range(3):
        adalora.AllocateRanks().on_optimizer_step(None, SimpleNamespace(global_step=finished), None, model=model)
    assert steps == [1, 2, 3]  # PEFT's schedule ends at `total_step`
