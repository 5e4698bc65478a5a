"""Models with something trainable in them: PEFT adapters, or a chosen part of the model itself.

A run's weights are one file, adapter_model.safetensors. For adapter methods it is PEFT's, with adapter_config.json
beside it; for `full`, `bitfit` and `head` it holds the trained parameters under their own names.
"""

import json
import shutil
import tempfile
from pathlib import Path

from common.core import files
from common.core.errors import JobError
from common.data import safe_checkpoints
from common.methods import METHODS
from common.models import built_adapters

WEIGHTS = "adapter_model.safetensors"


def install() -> None:
    """Make PEFT build HRA with this repository's layers, and BOFT with as many factors as its config asks for."""
    import hra
    from common.models import butterfly

    hra.install()
    butterfly.install()


def load_classifier(folder: str | Path, labels: list[str] | None, seed: int, dropout: float | None = None):
    """Sequence classifier in float32 on a pretrained encoder; its head is drawn with `seed`.

    `labels` names the classes, None makes it a regression with one output. Weights are read without unpickling code.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    config = AutoConfig.from_pretrained(folder)
    config.num_labels = len(labels) if labels else 1
    config.problem_type = "single_label_classification" if labels else "regression"
    if dropout is not None:
        config.classifier_dropout = config.cls_dropout = dropout  # BERT's name and DeBERTa's
    set_seed(seed)
    # Without a dtype transformers takes the checkpoint's, and DeBERTaV3's is float16.
    with safe_checkpoints.named(folder):
        return AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, weights_only=True
        )


def peft_config(method: dict, head: list[str] | None = None, total_steps: int = 1000):
    """PEFT config of a method slice (see config.method); `head` names modules to train and save beside the adapter."""
    import peft

    entry = METHODS[method["kind"]]
    arguments = dict.fromkeys(entry.one_of, 0) | entry.arguments(method, total_steps) | method["peft"]
    config_class = getattr(peft, entry.peft_config)
    return config_class(target_modules=list(method["targets"]), modules_to_save=head, **arguments)


def insert(model, method: dict, head: list[str] | None = None, total_steps: int = 1000):
    """The model with the method's adapters, None if it has none; JobError says why they do not fit."""
    import peft

    if not METHODS[method["kind"]].peft_config:
        return None
    install()
    check_targets(model, method)
    names = [name for name, _ in model.named_modules()]
    try:
        adapted = peft.get_peft_model(model, peft_config(method, head, total_steps))
    except (ValueError, TypeError) as problem:
        raise JobError(f"{method['kind']} {method['peft']} does not fit this model: {problem}") from problem
    # PEFT writes into the config that it is given: what was asked for is in a new one.
    built_adapters.check(adapted, peft_config(method, head, total_steps), names)
    built_adapters.check_trained(adapted, method["kind"], head or [], bias=method["peft"].get("bias", "none"))
    return adapted


def check_targets(model, method: dict) -> None:
    """Every target must match a Linear layer: PEFT is content if one of them does."""
    import torch

    linears = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for target in method["targets"]:
        if not any(name == target or name.endswith(f".{target}") for name in linears):
            tails = sorted({name.rsplit(".", 1)[-1] for name in linears})
            raise JobError(
                f"target module {target!r} matches no Linear layer of {type(model).__name__}. "
                f"Its Linear layers end in: {', '.join(tails)}. Correct `targets` of the model in the config."
            )


def start_training(model, method: dict, head: list[str], augmented: Path, total_steps: int):
    """The model ready for fine-tuning: the augmented checkpoint's adapter in place, the right parameters trainable."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    trained_head = head if method["train_head"] else None
    adapted = insert(model, method, trained_head, total_steps)
    if adapted is None:
        select_trainable(model, method, head)
        return model
    fresh, start = get_peft_model_state_dict(adapted), safe_checkpoints.load(augmented / WEIGHTS)
    taken = pissa_factors(adapted)
    if strange := [name for name in start if name not in fresh or fresh[name].shape != start[name].shape]:
        raise JobError(f"{augmented} does not belong to this model ({strange[0]}). Delete the folder and run again.")
    set_peft_model_state_dict(adapted, fresh | start)  # the head is not part of the augmented checkpoint
    for layer, A, B in taken:
        change = B @ A - layer.lora_B["default"].weight.data @ layer.lora_A["default"].weight.data
        weight = layer.get_base_layer().weight.data
        weight += (layer.scaling["default"] * change).to(weight.dtype)
    return adapted


def is_pissa(adapted) -> bool:
    return str(getattr(adapted.peft_config["default"], "init_lora_weights", "")).startswith("pissa")


def pissa_factors(adapted) -> list[tuple]:
    """PiSSA takes B A out of each base weight at insertion: the layers, with copies of A and B; else nothing.

    Its singular vectors may come out otherwise here than where the start was made.
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in adapted.modules() if isinstance(module, LoraLayer)] if is_pissa(adapted) else []
    return [
        (layer, layer.lora_A["default"].weight.data.clone(), layer.lora_B["default"].weight.data.clone())
        for layer in layers
    ]


def select_trainable(model, method: dict, head: list[str]) -> None:
    """Let what the method trains require gradients: its part of the base model, and the head; nothing else."""
    entry = METHODS[method["kind"]]
    for name, parameter in model.named_parameters():
        trained = method["train_head"] if built_adapters.within(name, head) else entry.trains_parameter(name)
        parameter.requires_grad_(entry.trains and trained)
    built_adapters.check_trained(model, method["kind"], head, method["train_head"])


def count(model, head: list[str]) -> dict[str, int]:
    """Parameters: all, trainable, and trainable without the head (what the paper counts)."""
    trainable = [(name, p.numel()) for name, p in model.named_parameters() if p.requires_grad]
    return {
        "total_parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(size for _, size in trainable),
        "adapter_parameters": sum(size for name, size in trainable if not built_adapters.within(name, head)),
    }


def trained_state(model) -> dict:
    """What training moves, by name: the trainable parameters."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def save(model, folder: Path, start: Path | None = None) -> None:
    """Write the weights of a run: PEFT's files for an adapter, else the trained parameters under the same file name.

    PiSSA has changed the base weights: with the augmented checkpoint `start` it is saved as the LoRA of twice the rank
    that does the same on the base as it came.
    """
    from peft import PeftModel
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(model, PeftModel):
        save_file(trained_state(model), folder / WEIGHTS, metadata={"format": "pt"})
        return
    if start and is_pissa(model):
        with tempfile.TemporaryDirectory() as copy:  # PEFT rewrites the config there
            shutil.copytree(start, copy, dirs_exist_ok=True)
            model.save_pretrained(folder, path_initial_model_for_weight_conversion=copy)
    else:
        model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    sort_config(folder / "adapter_config.json")


def sort_config(path: Path) -> None:
    """PEFT writes the set of target modules in a random order; equal runs are to give equal files."""
    config = json.loads(path.read_text())
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load(model, method: dict, folder: Path):
    """The model with a run's weights in it, for evaluation."""
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    state = safe_checkpoints.load(folder / WEIGHTS)
    adapter = METHODS[method["kind"]].peft_config
    if adapter:
        files.read_json(folder / "adapter_config.json")
    try:
        if adapter:
            install()
            names = [name for name, _ in model.named_modules()]
            model = PeftModel.from_pretrained(model, folder)
            built_adapters.check(model, PeftConfig.from_pretrained(folder), names)
            strange = sorted(set(state) ^ set(get_peft_model_state_dict(model)))
        else:
            strange = model.load_state_dict(state, strict=False).unexpected_keys
    except (RuntimeError, ValueError) as problem:  # other shapes, other modules
        first = " ".join(str(problem).split("\n")[:2]).replace("\t", "")  # a line a layer would follow
        raise JobError(f"{folder / WEIGHTS} does not belong to this model: {first}") from problem
    if strange:
        raise JobError(f"{folder / WEIGHTS} does not belong to this model: {strange[0]} is in one of them only.")
    return model.eval()


def exchange(model, method: dict, weights: Path) -> None:
    """Put the weights of another run of the same method where `load` has put those of a first one."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    state = safe_checkpoints.load(weights)
    adapter = METHODS[method["kind"]].peft_config
    there = get_peft_model_state_dict(model) if adapter else model.state_dict()
    strange = [name for name in state if name not in there or state[name].shape != there[name].shape]
    if strange := strange or (sorted(set(there) - set(state)) if adapter else []):
        raise JobError(f"{weights} does not belong to this model: {strange[0]} is in one of them only.")
    if adapter:
        set_peft_model_state_dict(model, state)
    else:
        model.load_state_dict(state, strict=False)
