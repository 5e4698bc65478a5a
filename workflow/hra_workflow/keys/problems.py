"""Problems of a config: every value that the model of its keys does not accept, in words."""

import math
from typing import Any, get_args, get_origin

from pydantic import Tag, ValidationError
from pydantic.fields import FieldInfo

from hra_workflow.core.wording import meant
from hra_workflow.keys.section import EXPECTED, Section

WORDS = {
    "missing": "this key",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
    "union_tag_not_found": "a key `kind`",
    "greater_than": "more than {gt:.12g}",
    "greater_than_equal": "at least {ge:.12g}",
    "less_than": "less than {lt:.12g}",
    "less_than_equal": "at most {le:.12g}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}
KINDS = ("missing", "union_tag_not_found")


def find(model: type[Section], config: dict) -> list[str]:
    """List what the model does not accept of a config, `KEY: what is wrong`, in the model's order."""
    try:
        model.model_validate(config)
    except ValidationError as error:
        found: dict[tuple, list] = {}
        for one in error.errors(include_url=False):
            path, tags = in_config(one["loc"], config)
            found.setdefault(path, []).append(one | {"tags": tags})
        deepest = [path for path in found if not any(other[: len(path)] == path != other for other in found)]
        return [f"{'.'.join(map(str, path)) or 'top level'}: {words(model, path, found[path])}" for path in deepest]
    return []


def in_config(loc: tuple, value: Any) -> tuple[tuple, set]:
    """Return the path of an error, and the other parts of its place: what pydantic calls the members of unions.

    A wrong name of a mapping has the path of the mapping.
    """
    path, tags = [], set()
    for index, part in enumerate(loc):
        wrong_name = loc[index + 1 : index + 2] == ("[key]",)
        missing = index == len(loc) - 1 and isinstance(value, dict) and part != "[key]"
        if (isinstance(value, dict) and part in value and not wrong_name) or missing:
            value = value.get(part)
            path.append(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
            path.append(part)
        else:
            tags.add(part)
    return tuple(path), tags


def words(model: type[Section], path: tuple, errors: list[dict]) -> str:
    """Describe the errors of one value: of a union, one for each of its members."""
    kinds, tags = {one["type"] for one in errors}, set().union(*(one["tags"] for one in errors))
    if "extra_forbidden" in kinds:
        return unknown(model, path, tags)
    if "value_error" in kinds:
        return next(f"{one['ctx']['error']}" for one in errors if one["type"] == "value_error")
    value = errors[0]["input"]
    found = "none" if kinds & set(KINDS) else shown(value)
    wanted = " or ".join(dict.fromkeys(map(expected, errors)))
    return f"expected {wanted}, found {found}{hint(value, kinds)}"


def expected(error: dict) -> str:
    """Describe what one error expects."""
    context = error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch":
        return EXPECTED.get(context["pattern"], f"a text that matches {context['pattern']}")
    form = WORDS.get(error["type"])
    return form.format(**context) if form else error["msg"]


def shown(value: Any) -> str:
    """Return a value for an error, of a list or mapping its kind."""
    kinds = {dict: "a mapping", list: "a list"}
    return kinds.get(type(value), repr(value)) if value else repr(value)


def unknown(model: type[Section], path: tuple, tags: set) -> str:
    """Describe a key that its section does not have."""
    name = path[-1]
    fields = [pair for section in sections(model, path[:-1], tags) for pair in section.model_fields.items()]
    known = [field.alias or one for one, field in fields]
    return f"unknown key{meant(name, known)}; known keys: {', '.join(sorted(known))}"


def field_of(section: type[Section], name: Any) -> FieldInfo | None:
    return next((field for one, field in section.model_fields.items() if (field.alias or one) == name), None)


def sections(model: type[Section], path: tuple, tags: set | None = None) -> list[type[Section]]:
    """List the sections that a path of a config may lead to; `tags`: those of the members of unions on the way."""
    kinds: list = [model]
    for part in path:
        kinds = [one for kind in kinds for one in below(kind, part, tags)]
    return [section for kind in kinds for section in members(kind, tags)]


def below(kind: Any, part: Any, tags: set | None = None) -> list:
    """List the types that a value of a type may have at a key or index."""
    if is_section(kind):
        return [field.annotation] if (field := field_of(kind, part)) else []
    if get_origin(kind) in (dict, list):
        return [get_args(kind)[-1]]
    return [one for member in alternatives(kind, tags) for one in below(member, part, tags)]


def members(kind: Any, tags: set | None = None) -> list[type[Section]]:
    """List the sections among the members of a union."""
    if is_section(kind):
        return [kind]
    if get_origin(kind) in (dict, list):
        return []
    return [one for member in alternatives(kind, tags) for one in members(member, tags)]


def alternatives(kind: Any, tags: set | None) -> tuple:
    """Return the members of a union, and what a tagged one is if the tag is one of `tags`."""
    tag = next((one.tag for one in get_args(kind) if isinstance(one, Tag)), None)
    return () if tag and tags is not None and tag not in tags else get_args(kind)


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def hint(value: Any, kinds: set[str]) -> str:
    """Return what to write instead of a value that YAML or the command line reads as another type."""
    if isinstance(value, str) and kinds & {"float_type", "int_type"} and is_number(value):
        return "; YAML reads 1e-5 as text: write 1.0e-5"
    if value in ("true", "false") and "bool_type" in kinds:
        return f"; on the command line write {value.title()}"
    if isinstance(value, float) and value.is_integer() and kinds & {"int_type", "int_from_float"}:
        return f"; write {value:.0f}"
    if value is not None and not isinstance(value, bool | list | dict) and "string_type" in kinds:
        return "; write it in quotes"
    return ""


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
