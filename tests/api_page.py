"""Write the docstrings of `hra` and the options of its command line to docs/library.md.

`PYTHONPATH=. python tests/api_page.py` rewrites the part of the page.
"""

import argparse
import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import hra
from benchmarks import tables
from hra.__main__ import build_parser

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/library.md"
ORDER = (
    "install",
    "uninstall",
    "HRAConfig",
    "orthogonality_penalty",
    "OrthogonalityCallback",
    "to_lora",
    "from_official",
)
WIDTH = 100  # of a signature in one line
LIMITS = "## Accuracy and limits"
COMMANDS = """## Command line

`hra`, or `python -m hra`; the option `--help` of each command explains its arguments. An adapter is a folder or a name
on the Hugging Face Hub, OUT a folder that is new or empty, `--base` a model or a diffusers pipeline. Errors in the
input end with a message and exit status 1."""


def page() -> str:
    _, _, *limits = inspect.getdoc(hra).split("\n\n")
    functions = [function(name, getattr(hra, name)) for name in ORDER]
    parts = [*functions, LIMITS, *limits, commands()]
    return "".join(map(unwrapped, re.split(r"(```.*?```)", "\n\n".join(parts), flags=re.DOTALL)))


def unwrapped(text: str) -> str:
    """Return a text with a line per paragraph and item, if it is not code."""
    return text if text.startswith("```") else re.sub(r"(?<=\S)\n *(?=[^\s*|#-])", " ", text)


def function(name: str, one: Callable) -> str:
    """Render a function's signature, as it is written, and its docstring; of a class only this."""
    if inspect.isclass(one):
        return f"## `hra.{name}`\n\n{inspect.getdoc(one)}"
    node = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
    arguments = [f"{argument.arg}: {ast.unparse(argument.annotation)}" for argument in node.args.args]
    for place, default in enumerate(reversed(node.args.defaults), 1):
        arguments[-place] += f" = {ast.unparse(default)}"
    lines = ", ".join(arguments)
    if len(lines) > WIDTH:
        lines = "".join(f"\n    {argument}," for argument in arguments) + "\n"
    return f"## `hra.{name}`\n\n```py\n{name}({lines}) -> {ast.unparse(node.returns)}\n```\n\n{inspect.getdoc(one)}"


def commands() -> str:
    """Render the command line's options; argparse's own help depends on the terminal and the Python version."""
    parser = build_parser()
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    text = [COMMANDS]
    for name, command in subparsers.choices.items():
        arguments = ", ".join(
            f"`{one.option_strings[0] if one.option_strings else one.dest.upper()}`" for one in command._actions[1:]
        )
        text.append(f"### `hra {name}`\n\nArguments: {arguments}. {command.description}")  # not --help
    return "\n\n".join(text)


def made() -> dict[Path, str]:
    return {PAGE: tables.filled(PAGE, "interface", page().splitlines())}


if __name__ == "__main__":
    PAGE.write_text(made()[PAGE])
