"""Import of functions and classes that the config names as `module:attribute`, such as generators and evaluators."""

import pkgutil
import re
from typing import TypeVar

from hra_workflow.core.errors import JobError, expect

Entry = TypeVar("Entry")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def import_named(name: str, key: str):
    """Import the class or function `name`; errors refer to the config key `key`."""
    if not NAME.fullmatch(name):
        raise JobError(f"{key}: expected `module:function` or `module:Class`, found {name!r}. Correct the config.")
    module, _, attribute = name.partition(":")
    try:
        return pkgutil.resolve_name(name)
    except ModuleNotFoundError as problem:
        remedy = f"Correct the name, or add the folder that contains {problem.name.split('.')[0]} to PYTHONPATH."
        if not f"{module}.".startswith(f"{problem.name}."):  # the module exists, but not a module that it imports
            remedy = f"{module} imports it: install it."
        raise JobError(f"{key}: expected to import {name}, found no module {problem.name}. {remedy}") from problem
    except AttributeError as problem:
        found = sorted(public for public in vars(pkgutil.resolve_name(module)) if not public.startswith("_"))
        raise JobError(
            f"{key}: expected {attribute!r} in module {module}, found {', '.join(found) or 'nothing'}. "
            "Correct the name after the colon."
        ) from problem


def find(entries: dict[str, Entry], kind: type[Entry], name: str, key: str) -> Entry:
    """Return the entry `name` of a table, or import a custom one of the same class, `module:name`."""
    known = f"one of {', '.join(entries)}, or module:name of a custom one"
    expect(name in entries or ":" in name, f"{key}: expected {known}, found {name!r}. Correct the name")
    found = entries[name] if name in entries else import_named(name, key)
    expect(isinstance(found, kind), f"{key}: {name}: expected a {kind.__module__}.{kind.__name__}, found {found!r}")
    return found
