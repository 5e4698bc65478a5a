"""The leaves of a config, each with the class of its key: `reruns`, what another value repeats."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from hra_workflow.keys import problems
from hra_workflow.keys.section import Section

ANY = object()  # the value of a key in a walk over the schema alone
CLASSES = ("nothing", "table", "evaluation", "training", "data")  # in rising order of what is repeated


@dataclass(frozen=True)
class Leaf:
    """`path`: in a config. `key`: the same with `*` for names and list indices. `schemas`: all that hold for it.

    `given`: the key that has the class, this one or one above.
    """

    path: tuple
    key: str
    given: str
    reruns: str | None
    schemas: list[dict]

    def __str__(self) -> str:
        return ".".join(map(str, self.path))


def leaves(schema: dict, value: Any = ANY) -> Iterator[Leaf]:
    """Yield every leaf of a config; without a config, every key of the schema."""
    yield from below(schema, [schema], value, (), (), (), None)


def below(
    root: dict, schemas: list[dict], value: Any, path: tuple, key: tuple, given: tuple, reruns: str | None
) -> Iterator[Leaf]:
    schemas = [found for one in schemas for found in holding(root, one)]
    own = next((one["reruns"] for one in schemas if "reruns" in one), reruns)
    if own != reruns:
        given, reruns = key, own
    children = members(schemas, value)
    for name, child, inner, part in children:
        yield from below(root, inner, child, (*path, name), (*key, part), given, reruns)
    if not children:
        yield Leaf(path, ".".join(key), ".".join(given), reruns, schemas)


def holding(root: dict, schema: Any) -> Iterator[dict]:
    """Yield a schema and all that it refers to or combines, the more specific ones first."""
    if not isinstance(schema, dict):
        return
    yield schema
    if "$ref" in schema:
        yield from holding(root, at(root, schema["$ref"].split("/")[1:]))
    for other in (one for name in ("allOf", "anyOf", "oneOf") for one in schema.get(name, ())):
        yield from holding(root, other)


def members(schemas: list[dict], value: Any) -> list[tuple]:
    """List name or index, value, schemas and key of what a value contains or, of ANY, may contain."""
    named = [one["additionalProperties"] for one in schemas if isinstance(one.get("additionalProperties"), dict)]
    named += [inner for one in schemas for inner in one.get("patternProperties", {}).values()]
    items = [one["items"] for one in schemas if "items" in one]
    known: dict[str, list] = {}
    for one in schemas:
        for name, schema in one.get("properties", {}).items():
            known.setdefault(name, []).append(schema)
    if value is ANY:
        unnamed = [("*", own) for own in (named, items) if own]
        return [(name, ANY, own, name) for name, own in (*known.items(), *unnamed)]
    if isinstance(value, list):  # one of texts or numbers is a leaf
        return [(i, one, items, "*") for i, one in enumerate(value) if any(isinstance(one, dict) for one in value)]
    content = value if isinstance(value, dict) else {}
    return [(name, one, known.get(name, named), name if name in known else "*") for name, one in content.items()]


def other(leaf: Leaf, value: Any) -> Any:
    """Return another value of the same type that the schema allows, a text apart from its pattern; None for null."""
    merged = {name: limit for one in reversed(leaf.schemas) for name, limit in one.items()}
    if "enum" in merged:
        return next(one for one in merged["enum"] if one != value)
    if value in [one["const"] for one in leaf.schemas if "const" in one]:  # of a union
        return True if any(one.get("type") == "boolean" for one in leaf.schemas) else 2
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        most = merged.get("maximum", merged.get("exclusiveMaximum", float("inf")))
        return next(one for one in (value * 2 or 1, value // 2, value / 2) if 0 < one <= max(most, value))
    if isinstance(value, list):
        return value[:-1] if len(value) > 1 else [*value, "other"]
    return f"{value}x" if isinstance(value, str) else None


def at(config: Any, path: Iterable) -> Any:
    for name in path:
        config = config[name]
    return config


def changed(config: dict, values: dict[tuple, Any]) -> dict:
    """Return a copy of a config with other values at these paths."""
    copy = json.loads(json.dumps(config))
    for path, value in values.items():
        at(copy, path[:-1])[path[-1]] = value
    return copy


def description(field: FieldInfo) -> str:
    """Return the description of a key, or else of the section that is its value."""
    bases = [base for one in problems.members(field.annotation) for base in one.__mro__ if problems.is_section(base)]
    own = next((base.__doc__ for base in bases if base.__doc__ and base is not Section), "")
    return " ".join((field.description or own).split())
