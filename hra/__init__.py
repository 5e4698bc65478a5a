"""Householder Reflection Adaptation (HRA, arXiv 2405.17484) for PEFT at the cost of LoRA.

After `hra.install()`, stock PEFT calls such as `get_peft_model(model, peft.HRAConfig(r=8))` create
this package's layers.

**Exact**, that is, equal in exact arithmetic, computed in float64 (on MPS, which has none, in float32) and rounded
once: the factors V and B of H = I - B Vᵀ and their gradients, the penalty, the merged weight, the factors of
`to_lora`. Adapter files have PEFT's names, shapes and dtypes, in both directions. Unmerging restores a weight narrower
than float32 bit by bit, from a copy.

**Rounded**: the product with the activations, (x V) Bᵀ, like any linear layer: in the dtype of the base layer, or of
autocast, and under the same switches (TF32). So the adapted, the merged and the exported model differ in the last
digits of that dtype; in bfloat16 and float16 a merged weight is W H rounded to that dtype. Unmerging float32 weights
computes W H Hᵀ, which is W up to the last digits.

**Current**: a forward pass uses the values that the parameters have when it begins, however they were written: by an
optimizer (fused or not), a collective, a view of NumPy or DLPack, another process. There is no cache to clear. A pass
that ends with an exception, Ctrl-C included, leaves no state behind.

**Limits**: `nn.Linear` and layers that act like it (quantised ones too), and `nn.Conv2d`. Other layers, and the
projections of `nn.MultiheadAttention`, raise an error. If a model reads a weight without calling its layer (WavLM's
attention), the first forward pass raises an error. The groups of a convolution share the rotation of their patches;
PEFT's own HRA refuses such layers, also in an adapter file. r is at most the width of the layer's input, and even with
the default initialisation, which equals the base model. Merging refuses a weight that is quantised, shared (a tied
`lm_head`), computed by hooks or parametrizations, or below another adapter. `to_lora` refuses the last two,
and convolutions with groups, or with a dilation or a padding mode, which PEFT's LoRA ignores. `adapter_names`, one
adapter per sample, needs evaluation mode and unmerged adapters. With λ = ∞ (`apply_GS`), no initialisation equals the
base model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = [
    "HRAConfig",
    "OrthogonalityCallback",
    "from_official",
    "install",
    "orthogonality_penalty",
    "to_lora",
    "uninstall",
]

if TYPE_CHECKING:
    from .callback import OrthogonalityCallback
    from .config import HRAConfig
    from .export import to_lora
    from .official import from_official
    from .penalty import orthogonality_penalty
    from .tuner import install, uninstall
else:
    # PEP 562: torch and PEFT, which take seconds, are imported with the first of these names, so that the command line
    # shows its help and reports wrong arguments before. Type checkers read the imports above.
    MODULES = {
        "HRAConfig": "config",
        "OrthogonalityCallback": "callback",
        "from_official": "official",
        "install": "tuner",
        "orthogonality_penalty": "penalty",
        "to_lora": "export",
        "uninstall": "tuner",
    }

    def __getattr__(name: str) -> Any:
        if name not in MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(f".{MODULES[name]}", __name__), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
