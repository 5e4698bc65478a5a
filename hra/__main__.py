"""`hra inspect | to-lora | merge | rewind`: inspect, export or merge an adapter, or change its strength."""

import argparse
import os
import pickle
import sys
from collections.abc import Callable
from inspect import getdoc
from pathlib import Path

# `python -m` searches the working directory first: a diffusers.py there is not the library that an adapter names.
if __name__ == "__main__" and sys.path[0] == os.getcwd():
    del sys.path[0]

from safetensors import SafetensorError

from .paths import check_adapter, check_base, new_folder


def inspect(adapters: list[str], png: str | None, base: str | None) -> None:
    """Show how far every adapted layer is from the base model, for several adapters side by side.

    HRA adapters are measured without their base model: ‖I - UᵀU‖ of the unit columns, ‖H - I‖, and H's largest angle
    of rotation. An adapter of both sides has a second row per layer, `(out)`, and one with magnitudes a column of the
    largest |δ|. With `--base`, or if one of the adapters is of another method, all are measured by their update
    ΔW = W' - W: its norm relative to W's, the mean angle between the rows of W and W', the largest change of a singular
    value relative to the largest one (0 for a rotation), and in the figure the singular values of ΔW and W. Fully
    trained modules (`modules_to_save`) are not measured.
    """
    check(adapters, base=base)
    if png and not Path(png).parent.is_dir():
        raise ValueError(f"{png}: expected an existing folder, found none. Create it, or correct --png.")
    from . import display

    display.inspect(adapters, png, base)


def to_lora(adapter: str, out: str, base: str | None) -> None:
    """Export an equivalent LoRA or DoRA adapter, with the adapter's own tokenizer if it has one.

    It is DoRA if the adapter has magnitudes, and then vLLM refuses it: use `hra merge` instead.
    `PeftModel.from_pretrained` can load it, and, if the base model belongs to a diffusers pipeline,
    `pipe.load_lora_weights`. The last line of the output lists the written files.
    """
    check([adapter], out, base)
    from . import conversion

    conversion.to_lora(adapter, out, base)


def merge(adapter: str, out: str, base: str | None) -> None:
    """Write the base model with the adapter merged into its weights.

    The merged weights have the dtype of the base model's files; those of diffusers' models are float32. A model of
    transformers gets its tokenizer, processor and chat template; the adapter's own ones take precedence. If the
    base model is a diffusers pipeline, the complete pipeline is written. The names of a classifier's classes are not in
    PEFT's files: they are read from the workflow's train.json, in the adapter's folder or the one above; without it,
    set `id2label` and `label2id` in the written config.json. The output reports how much rounding to that
    dtype changes a layer's outputs at most, and how much the adapter changes them. Its last line lists the written
    files.
    """
    check([adapter], out, base)
    from . import conversion

    conversion.merge(adapter, out, base)


def rewind(adapter: str, out: str, strength: float) -> None:
    """Write an adapter with the real power H^t instead of each layer's H, without its base model.

    Between t = 0 (the base model) and t = 1 (the adapter as it is), a smaller t keeps more of the base model's
    abilities and less of what was trained. Other finite t extrapolate: 2 doubles every angle, -1 is the inverse. An
    H with an eigenvalue -1 (an odd r, λ = ∞) has no unique power and is refused for every t. Magnitudes 1 + δ become
    (1 + δ)^t, and are refused for every t unless they are above 0.
    """
    check([adapter], out)
    from . import conversion

    conversion.rewind(adapter, out, strength)


def check(adapters: list[str], out: str | None = None, base: str | None = None) -> None:
    """Check a command's paths before it imports torch and PEFT, which take seconds. Raises ValueError."""
    if out:
        new_folder(out)
    for adapter in adapters:
        check_adapter(adapter)
    if base:
        check_base(base, None, "Correct")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the four commands, whose help is their functions' docstrings."""
    parser = argparse.ArgumentParser(prog="hra", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, function: Callable[..., None]) -> argparse.ArgumentParser:
        text = getdoc(function) or ""
        return commands.add_parser(name, help=text.partition("\n")[0], description=text)

    look, export, fuse = add("inspect", inspect), add("to-lora", to_lora), add("merge", merge)
    weaken = add("rewind", rewind)  # t has no limits: H^t exists for every finite t
    look.add_argument("adapter", nargs="+", help="folder, or name on the Hugging Face Hub, of up to 8 adapters")
    for command in (export, fuse, weaken):
        command.add_argument("adapter", help="folder, or name on the Hugging Face Hub")
    look.add_argument("--png", help="path of the figure (default: the adapter's path with dashes, here)")
    for command in (export, fuse, weaken):
        command.add_argument("out", help="folder to write, new or empty")
    weaken.add_argument("strength", type=float, help="t, a finite number: 0 is the base model, 1 the adapter as it is")
    for command in (look, export, fuse):
        command.add_argument(
            "--base",
            help="base model or diffusers pipeline that contains it (default: the one named by the adapter)",
        )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run a command; errors in its input end the process with a message instead of a traceback."""
    options = build_parser().parse_args(arguments)
    try:
        if options.command == "inspect":
            inspect(options.adapter, options.png, options.base)
        elif options.command == "to-lora":
            to_lora(options.adapter, options.out, options.base)
        elif options.command == "rewind":
            rewind(options.adapter, options.out, options.strength)
        else:
            merge(options.adapter, options.out, options.base)
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        package = "'hra[cli]'" if library in ("rich", "matplotlib") else library
        sys.exit(f"hra {options.command}: {error}; install it with `pip install {package}`")
    except pickle.UnpicklingError:  # its own message advises executing the file's contents
        sys.exit(
            f"hra {options.command}: expected weights, found other objects in a file of {options.adapter} or "
            "of its base model, which could execute code; they were not loaded. Use .safetensors files."
        )
    except SafetensorError as error:
        sys.exit(
            f"hra {options.command}: a .safetensors file of {options.adapter} or of its base model is "
            f"truncated or corrupted ({error}). Copy or download it again."
        )
    except (TypeError, NotImplementedError, ValueError, OSError) as error:  # the first two: layers that do not merge
        sys.exit(f"hra {options.command}: {error}")


if __name__ == "__main__":
    main()
