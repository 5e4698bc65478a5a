"""AdaLoRA in training (arXiv 2303.10512): the regulariser, and the allocation of ranks after each step."""

from pathlib import Path

import torch
from transformers import TrainerCallback

STATE = "adalora.pt"
AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # attributes of the allocator that PEFT does not save


def penalty(model, method: dict) -> torch.Tensor:
    """Return the weighted mean over all factors A (r, n) and B (out, r) of ‖A Aᵀ − I‖_F and ‖Bᵀ B − I‖_F.

    It is that of the authors' loralib. PEFT adds it in AdaLoraModel.forward, which a PeftModel without a task type
    skips.
    """
    rows = [p for name, p in model.named_parameters() if "lora_A" in name]
    rows += [p.mT for name, p in model.named_parameters() if "lora_B" in name]
    norms = [torch.linalg.matrix_norm(p @ p.mT - torch.eye(len(p), dtype=p.dtype, device=p.device)) for p in rows]
    return model.peft_config["default"].orth_reg_weight * torch.stack(norms).mean()


class AllocateRanks(TrainerCallback):
    """Reallocate the ranks after each optimiser step, while the gradients still exist."""

    def on_optimizer_step(self, args, state, control, model=None, **_):
        inner = model.module if hasattr(model, "module") else model
        inner.base_model.update_and_allocate(state.global_step + 1)

    def save_state(self, model, folder: Path) -> None:
        """Write the state of the allocator to a checkpoint folder."""
        allocator = model.base_model.rankallocator
        state = {name: getattr(allocator, name) for name in AVERAGES}
        torch.save(state | {"rank_pattern": model.peft_config["default"].rank_pattern}, folder / STATE)

    def load_state(self, model, folder: Path) -> None:
        """Restore the state of the allocator from a checkpoint folder."""
        state = torch.load(folder / STATE, weights_only=True)
        model.peft_config["default"].rank_pattern = state.pop("rank_pattern")
        for name, value in state.items():
            setattr(model.base_model.rankallocator, name, value)
