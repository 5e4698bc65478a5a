"""Trained weights at a strength between 0, the base model, and 1, as trained, and the methods that support it.

Adapters overshoot: a smaller update can be as good at the task and forget less (PEFT-Arena, arXiv 2605.28819). A
rotation moves back along its geodesic, an update that is added to the weights is scaled, and weights that are trained
directly are interpolated with the base model's.

It is imported on login nodes, so it imports neither torch nor pandas.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name

from hra_workflow.core.errors import JobError


@dataclass(frozen=True)
class Rewinding:
    """The way to rewind the weights of a kind of method.

    adapter: `module:function` (PEFT model, strength) that rewinds in place; None: there is no adapter, and the weights
    are interpolated. fault: function (arguments of the PEFT config) → why they cannot be rewound, or None.
    """

    adapter: str | None = None
    fault: Callable[[dict], str | None] = lambda peft: None


def fault(rewinding: Rewinding, variant: dict) -> str | None:
    """Return why the weights of a variant of the config cannot be rewound, or None."""
    peft = variant.get("peft", {})
    if peft.get("bias", "none") != "none":
        return "it trains biases in addition to its adapter"
    return rewinding.fault(peft)


def hra_fault(peft: dict) -> str | None:
    if peft.get("apply_GS") or peft.get("r", 8) % 2:
        return "λ = ∞ and an odd r give reflections, not rotations"
    return None


def lora_fault(peft: dict) -> str | None:
    return "the update of DoRA is no product that could be scaled" if peft.get("use_dora") else None


HRA = Rewinding("hra:rewind", hra_fault)
LORA = Rewinding("hra_workflow.methods.rewinding:scale_lora", lora_fault)
ADALORA = Rewinding("hra_workflow.methods.rewinding:scale_adalora")
BASE = Rewinding()


def rewind(rewinding: Rewinding, model, strength: float) -> None:
    """Rewind a PEFT model in place; raise JobError if a trained layer cannot be rewound."""
    try:
        resolve_name(rewinding.adapter)(model, strength)
    except ValueError as problem:
        raise JobError(f"{problem}. Such an adapter cannot be rewound: leave `rewind` out of the task.") from problem


def scale_lora(model, strength: float) -> None:
    scale(model, "lora_B", strength)


def scale_adalora(model, strength: float) -> None:
    scale(model, "lora_E", strength)


def scale(model, factor: str, strength: float) -> None:
    """Scale one factor of every product that is added to a weight."""
    for name, parameter in model.named_parameters():
        if factor in name.split("."):
            parameter.data.mul_(strength)


def interpolated(base: dict, trained: dict, strength: float) -> dict:
    """Return base + strength (trained − base) by name, in the trained dtype; values missing in the base are kept."""
    return {
        name: base[name].to(value).lerp(value, strength) if name in base else value for name, value in trained.items()
    }
