"""HRA whose common directions are frozen; with both sides of W, part E's candidate (results.md, "Part E").

PEFT starts the columns in equal pairs. They are u_2k = c_k + δ_k and u_2k+1 = c_k − δ_k, where δ is 0 at the start and
trained, and c is not trained. So r columns of n entries train n r / 2 numbers. Commit 5eb2844 has both sides.
"""

from dataclasses import replace

import torch
from transformers import TrainerCallback

from hra_workflow import methods

PARAMETERS = "hra_u"


def antisymmetric(gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradient (n, r) without its part for c: ((g_2k − g_2k+1) / 2, (g_2k+1 − g_2k) / 2) for each pair.

    Adam then moves δ as if δ were the parameter, up to its ε, and c not at all.
    """
    half = (gradient[:, 0::2] - gradient[:, 1::2]) / 2
    return torch.stack([half, -half], dim=2).flatten(1)


class FreezeCommonDirections(TrainerCallback):
    """Train only δ of every reflection."""

    def on_train_begin(self, args, state, control, model=None, **_):
        for name, parameter in model.named_parameters():
            if PARAMETERS in name.split("."):
                parameter.register_hook(antisymmetric)

    def save_state(self, model, folder) -> None:
        """Write nothing: c stays in the parameters."""

    def load_state(self, model, folder) -> None:
        """Read nothing."""


METHOD = replace(
    methods.METHODS["hra"],
    colour=None,
    callbacks=(f"{__name__}:{FreezeCommonDirections.__name__}",),
)
