"""`python -m hra inspect | to-lora | merge`: inspect, export or merge an adapter."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import pickle
import sys
from pathlib import Path

# `python -m` searches the working directory first: a diffusers.py there is not the library that an adapter names.
if __name__ == "__main__" and sys.path[0] == os.getcwd():
    del sys.path[0]

import torch
from peft import HRAConfig, PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils import load_peft_weights
from safetensors import SafetensorError
from torch import nn

import hra

from .export import PREFIX, State
from .reflections import compact, orthogonality_error

LIBRARIES = ("transformers", "diffusers")  # the libraries whose classes an adapter may name
AUTO_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "FEATURE_EXTRACTION": "AutoModel",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
}


def measure(adapter: str) -> list[dict]:
    """Measure every layer of a saved HRA adapter without its base model.

    For the layer's H (n, n): `distance` is ‖H - I‖_F = ‖B Vᵀ‖_F; `angle` is the largest argument of an eigenvalue in
    degrees (0: the base model; 180: some direction is reflected). `orthogonality` is ‖I_r - UᵀU‖_F of the unit columns
    (Eq. 6).

    Raises ValueError if it is not an HRA adapter.
    """
    config = PeftConfig.from_pretrained(adapter)
    if not isinstance(config, HRAConfig):
        raise ValueError(f"{adapter}: expected an HRA adapter, found {config.peft_type}")
    layers = []
    for key, u in load_peft_weights(adapter, device="cpu").items():
        if key.endswith(".hra_u"):
            V, B = compact(u.double(), config.apply_GS)
            # H has the eigenvalue 1 outside the span of B; within it, the eigenvalues of the r x r matrix I - VᵀB.
            eigenvalues = torch.linalg.eigvals(torch.eye(V.shape[1]) - V.mT @ B)
            layers.append(
                {
                    "layer": key.removeprefix(PREFIX).removesuffix(".hra_u"),
                    "n": u.shape[0],
                    "r": u.shape[1],
                    "parameters": u.numel(),
                    "orthogonality": orthogonality_error(u.double()).item(),
                    "distance": ((B.mT @ B) * (V.mT @ V)).sum().clamp(min=0).sqrt().item(),
                    "angle": math.degrees(eigenvalues.angle().abs().max().item()),
                }
            )
    return layers


def inspect(adapter: str, png: str) -> None:
    from rich.console import Console
    from rich.table import Table

    layers = measure(adapter)
    table = Table(title=f"{adapter}: {sum(layer['parameters'] for layer in layers):,} parameters")
    headings = ["layer", "n", "r", "parameters", "‖I - UᵀU‖", "‖H - I‖", "angle"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "layer" else "right", overflow="fold")
    for layer in layers:
        values = [f"{layer[key]:.3g}" for key in ("orthogonality", "distance")]
        counts = [f"{layer[key]:,}" for key in ("n", "r", "parameters")]
        table.add_row(layer["layer"], *counts, *values, f"{layer['angle']:.1f}°")
    Console().print(table)
    _plot(layers, adapter, png)
    print(f"figure: {png}")


def figure_name(adapter: str) -> str:
    """Name the figure after the adapter's path: every run's last adapter is called `last`."""
    path = Path(adapter)
    parts = [part for part in path.parts if part not in (path.anchor, "..")] or [path.resolve().name]
    return "-".join(parts[-6:]) + ".png"


def _plot(layers: list[dict], title: str, png: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {"distance": "‖H - I‖", "angle": "largest angle (°)", "orthogonality": "‖I - UᵀU‖"}
    height = 1.5 + 0.22 * len(layers)
    figure, axes = plt.subplots(1, 3, figsize=(11, height), sharey=True, layout="constrained")
    for axis, (key, label) in zip(axes, panels.items(), strict=True):
        axis.barh([layer["layer"] for layer in layers], [layer[key] for layer in layers], color="#2a6f97")
        axis.set_xlabel(label)
    axes[0].invert_yaxis()
    axes[0].tick_params(axis="y", labelsize=7)
    figure.suptitle(title)
    figure.savefig(png, dpi=150)
    plt.close(figure)


def load(adapter: str, base: str | None) -> PeftModel:
    """Load an adapter into this package's layers, on its own base model or on `base`.

    Raises ValueError if the adapter does not name a model class of transformers or diffusers.
    """
    config = PeftConfig.from_pretrained(adapter)
    base = base or config.base_model_name_or_path
    if not base:
        raise ValueError(f"{adapter} does not name its base model: pass --base")
    if config.task_type in AUTO_CLASSES:
        cls = getattr(importlib.import_module("transformers"), AUTO_CLASSES[config.task_type])
    elif config.auto_mapping:
        cls = model_class(adapter, config.auto_mapping["parent_library"], config.auto_mapping["base_model_class"])
    else:
        raise ValueError(
            f"{adapter} does not name its base model's class: load the model in Python, then call hra.to_lora(model)"
        )
    hra.install()
    return PeftModel.from_pretrained(cls.from_pretrained(base), adapter)


def model_class(adapter: str, library: str, name: str) -> type[nn.Module]:
    """Look up the model class named in an adapter_config.json; only transformers and diffusers are imported."""
    found = None
    if library.partition(".")[0] in LIBRARIES:
        found = getattr(importlib.import_module(library), name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(
            f"{adapter}: expected adapter_config.json to name a model class of {' or '.join(LIBRARIES)}, found "
            f"{library}.{name}. Load the model in Python, then call hra.to_lora(model) or model.merge_and_unload()"
        )
    return found


def left_out(model: PeftModel, adapter: str) -> State:
    """Return the saved adapter's `modules_to_save` tensors, by key, that the base model's class has no module for.

    A hint encoder, which a training script adds to the model, is one such module. Raises ValueError for a tensor that
    is not in `modules_to_save`.
    """
    known = get_peft_model_state_dict(model)
    state = {key: one for key, one in load_peft_weights(adapter, device="cpu").items() if key not in known}
    wanted = model.peft_config["default"].modules_to_save or []
    for key in state:
        if not any(f".{name}." in key for name in wanted):
            raise ValueError(
                f"{adapter} does not match {type(model.get_base_model()).__name__}, which has no {key}. Correct --base."
            )
    return state


def to_lora(adapter: str, out: str, base: str | None) -> None:
    model = load(adapter, base)
    hra.to_lora(model, out, beside=left_out(model, adapter))


def merge(adapter: str, out: str, base: str | None) -> None:
    model = load(adapter, base)
    if lost := left_out(model, adapter):
        raise ValueError(
            f"{adapter} also has {len(lost)} weights such as {next(iter(lost))}, for which "
            f"{type(model.get_base_model()).__name__} has no module: a merged model would lack them. Add that module "
            "to the model in Python, load the adapter and call `merge_and_unload()`."
        )
    merged: nn.Module = model.merge_and_unload(safe_merge=True)
    merged.save_pretrained(out)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m hra", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    look = commands.add_parser("inspect", help="show layers, parameters and their distance from the base model")
    export = commands.add_parser("to-lora", help="export an equivalent LoRA adapter")
    fuse = commands.add_parser("merge", help="write the base model with the adapter merged into its weights")
    for command in (look, export, fuse):
        command.add_argument("adapter", help="folder, or name on the Hugging Face Hub")
    look.add_argument("--png", help="path of the figure (default: the adapter's path with dashes, here)")
    for command in (export, fuse):
        command.add_argument("out", help="folder to write")
        command.add_argument("--base", help="base model (default: the one named by the adapter)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "inspect":
            inspect(options.adapter, options.png or figure_name(options.adapter))
        elif options.command == "to-lora":
            to_lora(options.adapter, options.out, options.base)
        else:
            merge(options.adapter, options.out, options.base)
    except ModuleNotFoundError as error:
        sys.exit(f"python -m hra {options.command}: {error}; install it with `pip install 'hra[cli]'`")
    except pickle.UnpicklingError:  # its own message advises executing the file's contents
        sys.exit(
            f"python -m hra {options.command}: expected weights, found other objects in a file of {options.adapter} or "
            "of its base model, which could execute code; they were not loaded. Use .safetensors files."
        )
    except SafetensorError as error:
        sys.exit(
            f"python -m hra {options.command}: a .safetensors file of {options.adapter} or of its base model is "
            f"truncated or corrupted ({error}). Copy or download it again."
        )
    except (TypeError, ValueError, OSError) as error:  # TypeError: merging into a quantised layer
        sys.exit(f"python -m hra {options.command}: {error}")


if __name__ == "__main__":
    main()
