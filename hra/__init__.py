"""Householder Reflection Adaptation (HRA, arXiv 2405.17484) for PEFT at the cost of LoRA.

After `hra.install()`, stock PEFT calls such as `get_peft_model(model, peft.HRAConfig(r=8))` create
this package's layers.
"""

from .export import to_lora
from .official import from_official
from .penalty import orthogonality_penalty
from .tuner import install, uninstall

__version__ = "0.1.0"
__all__ = ["from_official", "install", "orthogonality_penalty", "to_lora", "uninstall"]
