"""The source of a custom hint function, found without importing it, so that a dry run can detect changes."""

import ast
import os
import symtable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import meant


def sha256(hint: str) -> str:
    """Compute the SHA-256 of the source of `module:function`: its file, or all Python files of its top-level package.

    It does not include modules that they import from elsewhere. Raises JobError if Python cannot find the module, or
    the function in its source.
    """
    module, _, function = hint.partition(":")
    top = module.partition(".")[0]
    spec, own = find(top), find(module)
    if not (spec and own):
        raise JobError(
            f"hint {hint!r}: expected a module {module} on PYTHONPATH, found none "
            f"(PYTHONPATH is {os.environ.get('PYTHONPATH') or 'not set'}). "
            f"Add the folder that contains {top}: export PYTHONPATH=/path/to/folder"
        )
    if own.origin and own.origin.endswith(".py"):
        check_function(hint, function, Path(own.origin))
    hashes = {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for folder in spec.submodule_search_locations or ()
        for path in Path(folder).rglob("*.py")
    }
    return files.sha256_of_listing(hashes or {top: files.sha256(spec.origin)})


def check_function(hint: str, function: str, path: Path) -> None:
    """Raise JobError unless a module's source defines a name; it is compiled, not run."""
    try:
        source = path.read_bytes()
        names = symtable.symtable(source, str(path), "exec").get_symbols()
    except (SyntaxError, ValueError) as problem:
        line = getattr(problem, "lineno", None) or 1
        raise JobError(f"hint {hint!r}: {path}, line {line}: {problem}. Correct the file.") from problem
    defined = {name.get_name() for name in names if name.is_assigned() or name.is_imported() or name.is_namespace()}
    imports = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    if function in defined or "__getattr__" in defined or any(node.names[0].name == "*" for node in imports):
        return
    raise JobError(
        f"hint {hint!r}: expected a function {function} in {path}, found {', '.join(sorted(defined)) or 'nothing'}"
        f"{meant(function, defined)}. Correct the name after the colon."
    )


def find(module: str) -> ModuleSpec | None:
    """Find the specification of a module with a file or folder, starting at its top-level package."""
    top, *parts = module.split(".")
    try:
        spec = find_spec(top)  # find_spec("a.b") would import a
    except ValueError:  # an empty name
        return None
    for part in parts:
        spec = spec and PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations or [])
    return spec if spec and (spec.has_location or spec.submodule_search_locations) else None
