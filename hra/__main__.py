"""`hra inspect | to-lora | merge`: inspect, export or merge an adapter."""

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

from .conversion import inspect, merge, to_lora


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the commands, whose help is their functions' docstrings."""
    parser = argparse.ArgumentParser(prog="hra", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, function: Callable[..., None]) -> argparse.ArgumentParser:
        text = getdoc(function) or ""
        command = commands.add_parser(name, help=text.partition("\n")[0], description=text)
        command.set_defaults(function=function)
        command.add_argument("adapter", help="folder, or name on the Hugging Face Hub")
        return command

    add("inspect", inspect)
    for command in (add("to-lora", to_lora), add("merge", merge)):
        command.add_argument("out", help="folder to write, new or empty")
        command.add_argument(
            "--base",
            help="base model or diffusers pipeline that contains it (default: the one named by the adapter)",
        )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run a command; errors in its input end the process with a message instead of a traceback."""
    options = vars(build_parser().parse_args(arguments))
    command, function = options.pop("command"), options.pop("function")
    adapter = options["adapter"]
    try:
        function(**options)
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        sys.exit(f"hra {command}: {error}; install it with `pip install {library}`")
    except pickle.UnpicklingError:  # its own message advises executing the file's contents
        sys.exit(
            f"hra {command}: expected weights, found other objects in a file of {adapter} or "
            "of its base model, which could execute code; they were not loaded. Use .safetensors files."
        )
    except SafetensorError as error:
        sys.exit(
            f"hra {command}: a .safetensors file of {adapter} or of its base model is "
            f"truncated or corrupted ({error}). Copy or download it again."
        )
    except (TypeError, NotImplementedError, ValueError, OSError) as error:  # the first two: layers that do not merge
        sys.exit(f"hra {command}: {error}")


if __name__ == "__main__":
    main()
