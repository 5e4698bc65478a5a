"""The keys of the config's schema, with what a reader needs: description, default and example.

A section of the schema is a part with a title; a key that refers to one has a link instead of the keys of that part.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from config_keys import at
from hra_workflow.config import validation

NOTHING = object()


def given(value: Any) -> bool:
    return value is not NOTHING


@dataclass(frozen=True)
class Key:
    """A key. section: its title. path: below the section, with `*` for names and list items. stated: its schema.

    required: whether the mapping that has it needs it.
    """

    root: dict
    section: str
    path: tuple[str, ...]
    stated: dict
    required: bool

    def __str__(self) -> str:
        place = [] if self.section == self.root["title"] else [self.section.partition(":")[0]]
        return ".".join([*place, *self.path])

    @cached_property
    def parts(self) -> list[dict]:
        """List its schema and what that refers to or combines, except sections."""
        return list(parts(self.root, self.stated))

    @cached_property
    def sections(self) -> list[str]:
        """List the titles of the sections that it, its entries or its items refer to."""
        inner = [one[name] for one in self.parts for name in ("additionalProperties", "items") if name in one]
        every = [one for schema in (self.stated, *inner) for one in parts(self.root, schema, through=True)]
        return list(dict.fromkeys(one["title"] for one in every if "title" in one))

    def get(self, name: str) -> Any:
        """Return the value of a keyword, of the most specific part that has it, or NOTHING."""
        return next((one[name] for one in self.parts if name in one), NOTHING)

    @cached_property
    def place(self) -> tuple[str, ...] | None:
        """Return its path in a config, if that has no name that a user chooses."""
        above = () if self.section == self.root["title"] else tuple(self.section.split("."))
        return (
            None if "*" in self.path or "{" in self.section or above[:1] not in ((), ("tasks",)) else above + self.path
        )

    @property
    def example(self) -> Any:
        """Return its first example, or one made of those of its keys; NOTHING without any."""
        return example(self.root, self.stated)

    @property
    def keys(self) -> bool:
        """Return whether it is a mapping whose keys the schema lists."""
        return bool(self.sections or any(name in one for one in self.parts for name in ("properties", "title")))


def sections(root: dict) -> dict[str, dict]:
    return {one["title"]: one for one in (root, *root["$defs"].values()) if "title" in one}


def parts(root: dict, schema: Any, through: bool = False) -> Iterator[dict]:
    """Yield a schema and what it refers to or combines, more specific first; conditions are no parts.

    through: also sections.
    """
    if not isinstance(schema, dict):
        return
    yield schema
    others = [at(root, schema["$ref"].split("/")[1:])] if "$ref" in schema else []
    others += [one for name in ("allOf", "anyOf", "oneOf") for one in schema.get(name, ())]
    for other in others:
        if through or "title" not in other:
            yield from parts(root, other, through)


def keys(root: dict) -> Iterator[Key]:
    """Yield every key of the schema, once for each place that defines it."""
    for title, schema in sections(root).items():
        yield from below(root, title, [schema], (), frozenset(common(root, schema)))


def common(root: dict, schema: dict) -> Iterator[str]:
    """Yield the keys that a section has from another one; what it says about them is only what differs."""
    for part in parts(root, schema, through=True):
        if part is not schema and "title" in part:
            yield from part.get("properties", ())


def below(
    root: dict, title: str, schemas: list[dict], path: tuple[str, ...], repeated: frozenset[str] = frozenset()
) -> Iterator[Key]:
    for schema in (part for one in schemas for part in parts(root, one) if part is one or "title" not in part):
        for name, stated in schema.get("properties", {}).items():
            key = Key(root, title, (*path, name), stated, name in schema.get("required", ()))
            if name not in repeated or "description" in stated:
                yield key
                yield from below(root, title, inside(key), key.path)
        for one in (schema.get("additionalProperties"), schema.get("items")):
            if isinstance(one, dict) and not linked(root, one):
                yield from below(root, title, [one], (*path, "*"))


def inside(key: Key) -> list[dict]:
    return [] if linked(key.root, key.stated) else [key.stated]


def linked(root: dict, schema: dict) -> bool:
    """Return whether a schema is that of a section."""
    return "$ref" in schema and "title" in at(root, schema["$ref"].split("/")[1:])


def example(root: dict, schema: dict) -> Any:
    """Return a schema's example, or one made of the examples of the keys that it needs; NOTHING without any."""
    found = list(parts(root, schema, through=True))
    for one in found:
        if "examples" in one:
            return one["examples"][0]
    known: dict[str, list] = {}
    for name, stated in (pair for one in found for pair in one.get("properties", {}).items()):
        known.setdefault(name, []).append(stated)
    if known:
        wanted = [name for one in found for name in one.get("required", ())] or list(known)[:1]
        made = {name: next(filter(given, (example(root, one) for one in known[name])), NOTHING) for name in wanted}
        return made if all(map(given, made.values())) else NOTHING
    for one in found:
        for name, wrap in (("additionalProperties", lambda value: {"name": value}), ("items", lambda value: [value])):
            if isinstance(one.get(name), dict) and given(value := example(root, one[name])):
                return wrap(value)
    return NOTHING


def problems(root: dict) -> Iterator[str]:
    """Yield what the keys of a schema lack, with their names."""
    validator = type(validation.validator())(root)
    for key in keys(root):
        default, absent, stated = map(key.get, ("default", "absent", "examples"))
        if not given(key.get("description")):
            yield f"{key}: expected a description, found none"
        if not (key.required or key.keys or given(default) or given(absent)):
            yield f"{key}: expected `default`, `absent` or an entry in `required`, found none"
        if given(default) and given(absent):
            yield f"{key}: expected one of `default` and `absent`, found both"
        examples = stated if given(stated) else [one for one in [key.example] if given(one)]
        if not examples:
            yield f"{key}: expected examples, found none"
        for name, value in [
            *(("example", one) for one in examples),
            *([("default", default)] if given(default) else []),
        ]:
            for error in validator.descend(value, key.stated):
                yield f"{key}: {name} {value!r}: {error.message}"


def defined(schema: Any) -> Iterator[dict]:
    """Yield the schemas of all keys in a schema's text, without conditions."""
    if isinstance(schema, list):
        for one in schema:
            yield from defined(one)
    elif isinstance(schema, dict):
        for name, one in schema.items():
            if name == "properties":
                yield from one.values()
                for inner in one.values():
                    yield from defined(inner)
            elif name == "$defs":
                for inner in one.values():
                    yield from defined(inner)
            elif name in ("items", "additionalProperties", "allOf", "anyOf", "oneOf"):
                yield from defined(one)
