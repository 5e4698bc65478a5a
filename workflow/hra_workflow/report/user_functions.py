"""The user's functions and classes that a config names as `module:attribute`, needed to repeat its runs elsewhere."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from hra_workflow.core import imports


def names(value, package: str) -> Iterator[str]:
    """Yield the names in the values of a part of the config. `package`: the package that is not the user's."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from names(one, package)
    elif isinstance(value, str) and imports.NAME.fullmatch(value) and not value.startswith(f"{package}."):
        yield value


def modules(found: Iterable[str]) -> list[dict]:
    """Return per top-level module of the names its `file` and `source`; packages and missing modules have no source."""
    listed = []
    for top in dict.fromkeys(name.partition(":")[0].partition(".")[0] for name in found):
        spec = find_spec(top)
        path = Path(spec.origin) if spec and spec.origin and not spec.submodule_search_locations else None
        listed.append({"file": path.name if path else top, "source": path.read_text() if path else None})
    return listed
