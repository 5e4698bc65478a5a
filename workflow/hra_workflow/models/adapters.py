"""Insertion, saving and loading of a run's trainable parameters: a PEFT adapter, or a part of the model itself.

A run's weights are one file, adapter_model.safetensors. For adapter methods it is PEFT's, next to adapter_config.json;
for `full`, `bitfit` and `head` it contains the trained parameters under their own names.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from hra.paths import share
from hra_workflow import methods
from hra_workflow.core import files, grid, made_from, manifests
from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.methods import peft_types
from hra_workflow.models import built_adapters

WEIGHTS = "adapter_model.safetensors"
ALL_LINEAR, DEFAULT = "all-linear", "default"  # targets that are not a list: all Linear layers, or PEFT's default


def install() -> None:
    """Make PEFT build HRA with this repository's layers, and BOFT with the number of factors in its config."""
    import hra
    from hra_workflow.models import butterfly

    hra.install()
    butterfly.install()


def peft_config(method: dict, head: list[str] | None = None, total_steps: int = 1000):
    """Build the PEFT config of a method (see grid.method); `head`: modules to train and save next to the adapter."""
    entry = methods.entry(method)
    arguments = dict.fromkeys(entry.adapter.one_of, 0) | entry.adapter.arguments(method, total_steps) | method["peft"]
    config_class = peft_types.config_class(entry.adapter.config)
    arguments |= {"target_modules": method["targets"]}
    return config_class(modules_to_save=head and list(head), **arguments)  # a copy, to which PEFT adds names


def insert(model, method: dict, head: list[str] | None = None, total_steps: int = 1000, outside: Sequence[str] = ()):
    """Return the model with the method's adapters, or None if it has none; raise JobError if they do not fit.

    outside: modules that the targets all-linear exclude, like the `head`.
    """
    import peft
    import torch

    if not methods.entry(method).adapter.config:
        return None
    install()
    method = method | {"targets": targets(model, method, [*(head or []), *outside])}
    check_untied(model, method["targets"] or [], head or [])
    names = [name for name, _ in model.named_modules()]
    try:
        adapted = peft.get_peft_model(model, peft_config(method, head, total_steps))
    except (ValueError, TypeError, AttributeError, RuntimeError) as problem:
        raise JobError(f"{grid.kind_of(method)} {method['peft']} does not fit this model: {problem}") from problem
    # PEFT converts untrained parameters (AdaLoRA's `ranknum`) to the dtype of the weights, which unfreezes it.
    for layer in built_adapters.adapted_layers(adapted).values():
        for beside in (getattr(layer, name, None) for name in layer.other_param_names):
            if isinstance(beside, torch.nn.ParameterDict):
                beside.requires_grad_(False)
    # PEFT modifies the config that it receives: a new one has the requested values.
    built_adapters.check(adapted, peft_config(method, head, total_steps), names)
    built_adapters.check_trained(adapted, method, head or [])
    return adapted


def targets(model, method: dict, outside: Sequence[str] = ()) -> list[str] | None:
    """Return the method's targets, those with a `*`, such as an index of blocks, as the names of their layers.

    all-linear means all Linear layers except the output layer and those in `outside`; default means PEFT's default
    (None). Raises JobError unless every target matches a Linear layer; PEFT only requires one of them to match.
    """
    import torch

    wanted = torch.nn.Linear if methods.entry(method).adapter.linear else torch.nn.Module
    linears = [name for name, module in model.named_modules() if isinstance(module, wanted)]
    if method["targets"] == DEFAULT:
        return None
    if method["targets"] == ALL_LINEAR:
        from hra.checks import stacked_experts

        output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        kept = [name for name in linears if not built_adapters.is_within(name, outside)]
        if experts := stacked_experts(model):
            print(f"warning: the targets {ALL_LINEAR} are without this model's stacked experts ({', '.join(experts)})")
        return [name for name in kept if model.get_submodule(name) is not output]
    listed = []
    for target in method["targets"]:
        matched = [name for name in linears if fnmatchcase(name, target) or fnmatchcase(name, f"*.{target}")]
        listed += matched if "*" in target else [target]
        if not matched:
            tails = sorted({name.rsplit(".", 1)[-1] for name in linears})
            raise JobError(
                f"target module {target!r} matches no Linear layer of {type(model).__name__}. "
                f"Its Linear layers end in: {', '.join(tails)}. Correct `targets` of the model in the config."
            )
    return listed


def check_untied(model, targets: list[str], head: list[str]) -> None:
    """Raise JobError if a module with an adapter, or trained with it, shares its weight with another module."""
    owners: dict = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(parameter, []).append(name)
    for names in (names for names in owners.values() if len(names) > 1):
        for module in (name.rpartition(".")[0] for name in names):
            if built_adapters.is_named(module, targets) or built_adapters.is_within(module, head):
                raise JobError(
                    f"{module}: expected its own weight, found {' and '.join(names)} (tied embeddings): "
                    "a merged adapter would change both. Remove it from `targets` or `head` of the model."
                )


def initial_folder(job: dict) -> Path:
    """Return the folder of a run's initial adapter; raise JobError if it is not the requested one."""
    made_from.check_input(job, "augmented", files.read_json(job["input"]["augmented"]).get(made_from.KEY, {}))
    return manifests.folder(job["input"]["augmented"])


def start_training(model, method: dict, head: list[str], augmented: Path, total_steps: int):
    """Prepare the model for fine-tuning: load the initial adapter and make the method's parameters trainable."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    trained_head = head if method["train_head"] else None
    adapted = insert(model, method, trained_head, total_steps, head)
    if adapted is None:
        select_trainable(model, method, head)
        return model
    start, fresh = safe_checkpoints.load(augmented / WEIGHTS), get_peft_model_state_dict(adapted)
    taken = pissa_factors(adapted)
    if strange := [name for name in start if name not in fresh or fresh[name].shape != start[name].shape]:
        raise JobError(f"{augmented} does not belong to this model ({strange[0]}). Delete the folder and run again.")
    set_peft_model_state_dict(adapted, fresh | start)  # the head is not part of the initial adapter
    for layer, A, B in taken:
        change = B @ A - layer.lora_B["default"].weight.data @ layer.lora_A["default"].weight.data
        weight = layer.get_base_layer().weight.data
        weight += (layer.scaling["default"] * change).to(weight.dtype)
    return adapted


def is_pissa(adapted) -> bool:
    return str(getattr(adapted.peft_config["default"], "init_lora_weights", "")).startswith("pissa")


def pissa_factors(adapted) -> list[tuple]:
    """List PiSSA's layers with copies of A and B, whose product it subtracts from the base weight at insertion.

    Its singular vectors may differ from those computed where the initial adapter was created. Other methods: [].
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in adapted.modules() if isinstance(module, LoraLayer)] if is_pissa(adapted) else []
    return [
        (layer, layer.lora_A["default"].weight.data.clone(), layer.lora_B["default"].weight.data.clone())
        for layer in layers
    ]


def select_trainable(model, method: dict, head: list[str]) -> None:
    """Require gradients only for the parameters that the method trains: its part of the base model, and the head."""
    entry = methods.entry(method)
    for name, parameter in model.named_parameters():
        trained = method["train_head"] if built_adapters.is_within(name, head) else entry.trains_parameter(name)
        parameter.requires_grad_(entry.trains and trained)
    built_adapters.check_trained(model, method, head, method["train_head"])


def count(model, head: list[str]) -> dict[str, int]:
    """Count parameters: all, trainable, and trainable without the head (the paper's count)."""
    trainable = [(name, p.numel()) for name, p in model.named_parameters() if p.requires_grad]
    return {
        "total_parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(size for _, size in trainable),
        "adapter_parameters": sum(size for name, size in trainable if not built_adapters.is_within(name, head)),
    }


def trained_state(model) -> dict:
    """Return the trainable parameters by name."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def save(model, folder: Path, start: Path | None = None) -> None:
    """Write the weights of a run: PEFT's files for an adapter, otherwise the trained parameters in the same file.

    PiSSA has changed the base weights: with its initial adapter `start`, it is saved as an equivalent LoRA of twice the
    rank on the unmodified base model.
    """
    from peft import PeftModel
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(model, PeftModel):
        save_file(trained_state(model), folder / WEIGHTS, metadata={"format": "pt"})
        share(folder)
        return
    if start and is_pissa(model):
        with tempfile.TemporaryDirectory() as copy:  # a copy, because PEFT rewrites the config
            shutil.copytree(start, copy, dirs_exist_ok=True)
            model.save_pretrained(folder, path_initial_model_for_weight_conversion=copy)
    else:
        model.save_pretrained(folder)
    share(folder)
    (folder / "README.md").unlink(missing_ok=True)
    sort_config(folder / "adapter_config.json")


def sort_config(path: Path) -> None:
    """Sort the target modules, which PEFT writes in random order, so that identical runs give identical files."""
    config = json.loads(path.read_text())
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load(model, method: dict, folder: Path):
    """Load a run's weights into the model for evaluation."""
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    state = safe_checkpoints.load(folder / WEIGHTS)
    adapter = methods.entry(method).adapter.config
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
    except (RuntimeError, ValueError) as problem:
        if isinstance(problem, RuntimeError) and not str(problem).startswith("Error(s) in loading state_dict"):
            raise  # an error of the device, such as its memory
        first = " ".join(str(problem).split("\n")[:2]).replace("\t", "")  # one line per layer would follow
        raise JobError(f"{folder / WEIGHTS} does not belong to this model: {first}") from problem
    if strange:
        raise JobError(f"{folder / WEIGHTS} does not belong to this model: {strange[0]} is in one of them only.")
    return model.eval()


def exchange(model, method: dict, weights: Path) -> None:
    """Replace the weights that `load` loaded with those of another run of the same method."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    state = safe_checkpoints.load(weights)
    adapter = methods.entry(method).adapter.config
    there = get_peft_model_state_dict(model) if adapter else model.state_dict()
    strange = [name for name in state if name not in there or state[name].shape != there[name].shape]
    if strange := strange or (sorted(set(there) - set(state)) if adapter else []):
        raise JobError(f"{weights} does not belong to this model: {strange[0]} is in one of them only.")
    if adapter:
        set_peft_model_state_dict(model, state)
    else:
        model.load_state_dict(state, strict=False)
