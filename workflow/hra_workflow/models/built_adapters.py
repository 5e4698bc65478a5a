"""Checks after every insertion that the layers, their recorded sizes and the trainable parameters match the config.

PEFT changes some requests without an error: OFT uses a different block size if the requested one does not divide a
layer's inputs, PiSSA reduces r to a small layer's size.
"""

import math

from hra_workflow.core.errors import JobError
from hra_workflow.core.grid import kind_of
from hra_workflow.methods import entry, of_peft

NAME = "default"  # the name of the only adapter
PREFIX = "base_model.model."  # begins the names of a PEFT model's modules, and the keys in its files


def check(adapted, asked, names: list[str]) -> None:
    """Raise JobError, with layer, request and result, unless the PEFT model `adapted` matches the config.

    `asked`: a PEFT config that has not been used to build a model. `names`: the base model's modules before insertion.
    """
    layers, chosen = adapted_layers(adapted), asked.target_modules or adapted.peft_config[NAME].target_modules
    targets = [name for name in names if is_named(name, chosen) and not is_within(name, asked.modules_to_save)]
    if wrong := sorted(set(targets) ^ set(layers)):
        expected, found = ("an adapter", "none") if wrong[0] in targets else ("no adapter", "one")
        listed = ", ".join(sorted(chosen))
        raise JobError(
            f"{wrong[0]}: expected {expected} for the targets {listed}, found {found}; {len(wrong)} layers differ. "
            "Correct `targets` of the model in the config."
        )
    for name, layer in layers.items():
        wanted = recorded(asked, layer)
        found = {key: value_of(layer, key) for key in wanted}
        if wrong := [key for key in wanted if wanted[key] != found[key]]:
            raise JobError(
                f"{name} ({inputs(layer)} inputs, {layer.out_features} outputs): "
                f"expected {', '.join(f'{key} {wanted[key]}' for key in wrong)}, "
                f"found {', '.join(f'{key} {found[key]}' for key in wrong)}. "
                "Correct `peft` of the variant: its sizes must divide, or not exceed, the inputs of every target."
            )


def adapted_layers(adapted) -> dict:
    """Return PEFT's layers by their names in the base model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = {name: one for name, one in adapted.named_modules() if isinstance(one, BaseTunerLayer)}
    return {name.removeprefix(PREFIX): layer for name, layer in found.items()}


def is_named(name: str, targets) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


def is_within(name: str, modules: list[str] | None) -> bool:
    """Return whether a module or parameter is in one of `modules`, each a part of a path."""
    return any(part in (modules or []) for part in name.split("."))


def inputs(layer) -> int:
    """Return the number of columns of the weight; for a convolution, channels × height × width of its kernel."""
    return layer.in_features * math.prod(getattr(layer.get_base_layer(), "kernel_size", ()))


def recorded(asked, layer) -> dict:
    """Return the numbers and choices of a PEFT config that the layer keeps per adapter under the same name."""
    adapter, values = of_peft(asked).adapter, vars(asked)
    if any(value for name, value in values.items() if name.endswith("_pattern")):  # sizes that differ between layers
        return {}
    plain = {name: value for name, value in values.items() if isinstance(value, int | float | str)}
    stated = {name for name, value in plain.items() if value or name not in adapter.one_of} - {*adapter.unused}
    kept = {name: getattr(layer, name, None) for name in stated}
    return {name: plain[name] for name, one in kept.items() if isinstance(one, dict) and NAME in one}


def value_of(layer, name: str):
    """Return a value that the layer keeps; for LoRA's rank that of A, which PiSSA makes smaller in a small layer."""
    import torch

    if name == "r" and isinstance(matrices := getattr(layer, "lora_A", None), torch.nn.ModuleDict):
        return len(matrices[NAME].weight)
    return getattr(layer, name)[NAME]


def check_trained(model, method: dict, head: list[str], train_head: bool = True) -> None:
    """Raise JobError unless exactly the parameters of a method (see grid.method) are trainable."""
    from peft import PeftModel

    kind, bias = kind_of(method), (method["peft"] or {}).get("bias", "none")
    known, parameters = entry(method), dict(model.named_parameters())
    copies = f".modules_to_save.{NAME}." if isinstance(model, PeftModel) else ""  # PEFT trains a copy of the head
    for part in head:
        if not any(is_within(name, [part]) and copies in name for name in parameters):
            raise JobError(
                f"head module {part!r} matches no parameter of {type(model).__name__}. Correct `head` of the model."
            )
    beside = {name for name in parameters if train_head and is_within(name, head) and copies in name}
    biases = {name for name in parameters if name.endswith(".bias") and not is_within(name, head)}
    if isinstance(model, PeftModel):
        layers = adapted_layers(model).items()
        tensors = {f"{PREFIX}{name}.{part}.{NAME}" for name, layer in layers for part in layer.adapter_layer_names}
        own = {name for name in parameters if tensors & {name, name.rpartition(".")[0]}}
        own |= {name for name in biases if bias == "all" or (bias != "none" and name.endswith(".base_layer.bias"))}
    else:
        own = {name for name in parameters if not is_within(name, head) and known.trains_parameter(name)}
    if known.trains and not (own or (beside and known.base == "none")):
        raise JobError(
            f"{kind} would train nothing in {type(model).__name__}. Correct `head` of the model, or remove {kind}."
        )
    wanted = own | (beside if known.trains else set())
    found = {name for name, parameter in parameters.items() if parameter.requires_grad}
    if wrong := sorted(found ^ wanted):
        states = ("frozen", "trained") if wrong[0] in found else ("trained", "frozen")
        raise JobError(
            f"{wrong[0].removeprefix(PREFIX)}: expected {states[0]} by {kind}, found {states[1]}, "
            f"like {len(wrong)} of {len(parameters)} parameters. Report this: a library has changed its behaviour."
        )
