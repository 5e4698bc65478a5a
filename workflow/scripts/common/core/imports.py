"""Import what the config names as `module:attribute`: a generator of data, a model's builder, an evaluator's class."""

import pkgutil
import re

from common.core.errors import JobError

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def named(name: str, key: str):
    """Return the class or function that `name` stands for; `key` of the config is what an error tells to correct."""
    if not NAME.fullmatch(name):
        raise JobError(f"{key}: expected `module:function` or `module:Class`, found {name!r}. Correct the config.")
    module, _, attribute = name.partition(":")
    try:
        return pkgutil.resolve_name(name)
    except ModuleNotFoundError as problem:
        remedy = f"Correct the name, or put the folder that holds {problem.name.split('.')[0]} on PYTHONPATH."
        if not f"{module}.".startswith(f"{problem.name}."):  # the module exists, what it imports does not
            remedy = f"{module} imports it: install it."
        raise JobError(f"{key}: expected to import {name}, found no module {problem.name}. {remedy}") from problem
    except AttributeError as problem:
        found = sorted(public for public in vars(pkgutil.resolve_name(module)) if not public.startswith("_"))
        raise JobError(
            f"{key}: expected {attribute!r} in module {module}, found {', '.join(found) or 'nothing'}. "
            "Correct the name after the colon."
        ) from problem
