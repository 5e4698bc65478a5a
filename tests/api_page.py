"""Write the docstrings of `hra` and the options of its command line to docs/api.md.

`PYTHONPATH=. python tests/api_page.py` rewrites the page.
"""

import argparse
import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path

import hra
from hra.__main__ import build_parser

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/api.md"
ORDER = (
    "install",
    "uninstall",
    "HRAConfig",
    "orthogonality_penalty",
    "OrthogonalityCallback",
    "to_lora",
    "from_official",
)
INTRODUCTION = """# The library's interface

{about}

The functions come first, then [accuracy and limits](#accuracy-and-limits) and the [command line](#command-line). [The
mathematics](mathematics.md) has the formulas with their proofs, [HRA in your own code](your-own-code.md) examples."""
LIMITS = "## Accuracy and limits"
COMMANDS = """## Command line

`hra`, or `python -m hra`. Errors in the input end with a message and exit status 1."""


def page() -> str:
    _, about, *limits = inspect.getdoc(hra).split("\n\n")
    functions = [function(name, getattr(hra, name)) for name in ORDER]
    parts = [INTRODUCTION.format(about=about), *functions, LIMITS, *limits, commands()]
    return "\n\n".join(parts) + "\n"


def function(name: str, one: Callable) -> str:
    """Render a function's signature, as it is written, and its docstring; of a class only this."""
    if inspect.isclass(one):
        return f"## `hra.{name}`\n\n{inspect.getdoc(one)}"
    node = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
    arguments = [f"{argument.arg}: {ast.unparse(argument.annotation)}" for argument in node.args.args]
    for place, default in enumerate(reversed(node.args.defaults), 1):
        arguments[-place] += f" = {ast.unparse(default)}"
    lines = "".join(f"\n    {argument}," for argument in arguments) + "\n" * bool(arguments)
    return f"## `hra.{name}`\n\n```python\n{name}({lines}) -> {ast.unparse(node.returns)}\n```\n\n{inspect.getdoc(one)}"


def commands() -> str:
    """Render the command line's options; argparse's own help depends on the terminal and the Python version."""
    parser = build_parser()
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    text = [COMMANDS]
    for name, command in subparsers.choices.items():
        table = f"### `hra {name}`\n\n{command.description}\n\n| argument | |\n|---|---|"
        for action in command._actions:
            if action.dest != "help":
                table += f"\n| `{', '.join(action.option_strings) or action.dest.upper()}` | {action.help} |"
        text.append(table)
    return "\n\n".join(text)


if __name__ == "__main__":
    PAGE.write_text(page())
