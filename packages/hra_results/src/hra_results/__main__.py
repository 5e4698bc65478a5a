"""Read finished results of the HRA workflow.

    python -m hra_results COMMAND …    # COMMAND --help prints its options

Exit status: that of the command; 2 for wrong input.
"""

import argparse
import sys
from importlib import import_module

from hra_workflow.core.errors import JobError

# Each command is a module with add_arguments(parser) and run(arguments) -> exit status; its docstring is the help.
COMMANDS = ("report", "power", "diff", "archive", "verify", "publish", "grade")
WRONG = 2


def main(words: list[str]) -> int:
    """Run the command that the words name; only its module is imported."""
    parser = argparse.ArgumentParser(prog="python -m hra_results", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = [name for name in COMMANDS if name in words[:1]]
    for name in chosen or COMMANDS:
        module = import_module(f"hra_results.{name}")
        first = module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=first, description=first)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args(words)
    try:
        return arguments.run(arguments)
    except (JobError, OSError) as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return WRONG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
