"""`hra inspect | to-lora | merge | rewind`: inspect, export or merge an adapter, or change its strength."""

import argparse
import os
import pickle
import sys
from collections.abc import Callable
from inspect import getdoc

# `python -m` searches the working directory first: a diffusers.py there is not the library that an adapter names.
if __name__ == "__main__" and sys.path[0] == os.getcwd():
    del sys.path[0]

from safetensors import SafetensorError

from .conversion import merge, rewind, to_lora
from .display import inspect


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
