"""The orthogonality regulariser (section 3.3) for the Trainer of transformers and its subclasses, such as TRL's."""

import math
from typing import Any

import torch
from transformers import TrainerCallback

from .penalty import orthogonality_penalty


class OrthogonalityCallback(TrainerCallback):
    """Add λ times the orthogonality penalty to the objective of transformers' Trainer or TRL's trainers.

    `Trainer(…, callbacks=[hra.OrthogonalityCallback(lam)])`. lam: λ ≥ 0; 0 has no effect. squared: as in
    `orthogonality_penalty`.

    The gradient of the penalty is computed once per optimizer step, before the first micro-batch, whose gradients are
    added to it. So it does not depend on `gradient_accumulation_steps`, nor on how a trainer scales its losses, and
    clipping sees the sum. The loss in the logs is that of the trainer; `penalty` next to it is the value, without λ, at
    the start of the last step. Reports to TensorBoard and others lack it if they are written before this callback runs.

    Works under DDP, FSDP2, autocast, fp16 scaling, gradient checkpointing and torch.compile. Raises ValueError if λ is
    negative or not finite, and at the start of training under DeepSpeed or FSDP1, and if the model has no HRA adapter
    whose penalty can be trained.
    """

    def __init__(self, lam: float, squared: bool = True):
        if not 0 <= lam < math.inf:
            raise ValueError(f"OrthogonalityCallback: expected a finite λ ≥ 0, found {lam}. For λ = ∞, use `apply_GS`.")
        self.lam, self.squared = lam, squared
        self.penalty: torch.Tensor | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Raise ValueError if the penalty cannot be trained."""
        if self.lam == 0:
            return
        steps_in_backward = any(name in args.optim for name in ("lomo", "layerwise"))
        if steps_in_backward or args.deepspeed_plugin is not None:
            found = f"optim={args.optim.value!r}" if steps_in_backward else "DeepSpeed, whose engine manages them"
            raise ValueError(
                "OrthogonalityCallback: expected gradients that are accumulated until the optimizer's step, found "
                f"{found}. Use another optimizer, or DDP or FSDP2, or add the penalty to the loss in `compute_loss`."
            )
        if not orthogonality_penalty(kwargs["model"], self.squared).requires_grad:
            raise ValueError(
                "OrthogonalityCallback: expected a trainable HRA adapter with finite λ, found only frozen ones or ones "
                "with λ = ∞ (`apply_GS`). Remove the callback, or make an adapter trainable."
            )

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compute the gradient of λ times the penalty."""
        if self.lam == 0:
            return
        penalty = orthogonality_penalty(kwargs["model"], self.squared)
        self.penalty = penalty.detach()
        loss = self.lam * penalty
        scaler = getattr(kwargs["optimizer"], "scaler", None)  # accelerate's optimizer has one for fp16
        (loss if scaler is None else scaler.scale(loss)).backward()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Add the penalty to the logs of the loss."""
        if self.penalty is not None and logs is not None and "loss" in logs:
            logs["penalty"] = state.log_history[-1]["penalty"] = self.penalty.item()
