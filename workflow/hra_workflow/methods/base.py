"""The description of a kind of fine-tuning method: its training, adapter and variants. The entries are in __init__.py.

It is imported on login nodes, so it imports neither torch nor pandas: code that needs them is named as `module:name`.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Adapter:
    """An adapter type of PEFT. The defaults mean no adapter.

    config: the type of its PEFT config; None: no adapter is inserted.
    one_of: arguments of that config of which a variant sets exactly one; PEFT needs a 0 for the others.
    unused: arguments that PEFT ignores, so that its layers record another value.
    arguments: function (method, as from grid.method; training steps) → further arguments of that config.
    starts_from_weights: function (arguments of that config) → whether the initial adapter depends on the base weights.
    linear: whether its targets are Linear layers.
    merges: whether it can be merged into the weights. merges_quantized: the same for a 4-bit base model.
    to_lora: `module:function` (adapter, new folder, base model) that writes an equivalent LoRA adapter.
    measure: `module:function` (folder of an adapter) → per layer its `layer`, `angle` and `orthogonality`.
    """

    config: str | None = None
    one_of: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    arguments: Callable[[dict, int], dict] = lambda method, steps: {}
    starts_from_weights: Callable[[dict], bool] = lambda peft: False
    linear: bool = True
    merges: bool = True
    merges_quantized: bool = True
    to_lora: str | None = None
    measure: str | None = None


@dataclass(frozen=True)
class Variants:
    """The allowed keys of a method's variants in the config.

    required, optional: keys that only variants of this kind must or may have.
    fault: function (method, as from grid.method) → description of an error in `peft` and how to correct it, or None.
    sweep: function (variant) → its `lambda` and `series` in the figure over λ; None: the method has no λ.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fault: Callable[[dict], str | None] = lambda method: None
    sweep: Callable[[dict], dict] | None = None


@dataclass(frozen=True)
class Method:
    """One kind of method. The defaults describe a method without an adapter, which trains only the head.

    colour: in figures (the palette of Okabe and Ito); None: a spare one (report/colours.py).
    baseline: whether it is a baseline of HRA.
    tasks: the tasks that can run it; None: every task.
    adapter, variants: see above.
    trains: whether it trains at all. base: the base model's parameters that it trains: all, biases or none.
    precision: the base model's precision in training; None: that of the hyper-parameter.
    quantizes: whether it can be trained on a 4-bit base model.
    penalty: `module:function` (model, method's slice) → weighted term added to the loss, or None.
    callbacks: `module:class` of transformers callbacks with `save_state` and `load_state` (model, checkpoint folder).
    real_images: whether the real images are evaluated instead of generated ones.
    controlnet: whether a ControlNet is trained in addition to the UNet, instead of a hint encoder.
    """

    colour: str | None = None
    baseline: bool = True
    tasks: tuple[str, ...] | None = None
    adapter: Adapter = Adapter()
    variants: Variants = Variants()
    trains: bool = True
    base: str = "none"
    precision: str | None = None
    quantizes: bool = True
    penalty: str | None = None
    callbacks: tuple[str, ...] = ()
    real_images: bool = False
    controlnet: bool = False

    def trains_parameter(self, name: str) -> bool:
        """Return whether a parameter of the base model, other than its head, is trained."""
        return self.base == "all" or (self.base == "biases" and name.endswith(".bias"))

    def runs(self, task: str) -> bool:
        """Return whether a task can run it."""
        return self.tasks is None or task in self.tasks

    def reads_weights(self, peft: dict) -> bool:
        """Return whether the initial adapter contains, or is computed from, parameters of the base model."""
        return peft.get("bias", "none") != "none" or self.adapter.starts_from_weights(peft)
