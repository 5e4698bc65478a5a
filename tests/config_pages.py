"""Write what is made from the models of the config's keys: `python tests/config_pages.py`.

The lists of keys at the ends of pages, between `<!-- table keys -->` and `<!-- end -->`, and a JSON schema for editors,
workflow/schemas/config.schema.json. The pages leave out what the schema has and a reader can do without: examples of
texts and lists, types that a default shows, and limits that no value reaches.
"""

import importlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from benchmarks import tables
from config_keys import at, description
from hra_workflow import tasks
from hra_workflow.config.model import model_of
from hra_workflow.keys.config import TopLevel
from hra_workflow.keys.problems import is_section
from hra_workflow.keys.section import Section, stated
from support import ROOT, paper_config

SCHEMA = ROOT / "workflow/schemas/config.schema.json"
FILES = {  # page → the parts of its list of keys: modules of hra_workflow.keys, or tasks
    "config/README.md": ["config"],
    "docs/config/models.md": ["models"],
    "docs/config/methods.md": ["methods"],
    "docs/config/tasks.md": ["tasks", "hyperparameters", "glue", "math", "subject", "control"],
}
FIRST = ("Top level", "models.{name}", "methods.{name}", "methods.{name}.variants.{variant}", "tasks.{task}")
MODULES = {"models": ["models", "sources", "tasks", "texts"], "tasks": ["tasks", "texts"]}
ELSEWHERE = {"files": "models", "read": "models"}  # titles of sections that tasks.py and texts.py define
BY_COMMANDS = ("request", "probes")  # sections whose keys only commands set
LARGE = 2**31
FEW = 5  # keys that share a line with the key that they are in
REQUIRED = "required"
WORDS = {int: "", float: "", bool: "", str: "", type(None): "`null`", Any: ""}
BOUNDS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
LINKS = r"((?:docs|config)/(?:config/)?([\w-]+)\.md)(#[\w-]+)?"
GRID = paper_config()
NOTHING = object()


@dataclass(frozen=True)
class Key:
    """A key. section: the class of the section whose table has it. path: below that; `*` for names and items."""

    section: type[Section]
    path: tuple[str, ...]
    field: FieldInfo

    def __str__(self) -> str:
        return ".".join([title(self.section), *self.path])

    @property
    def in_grid(self) -> Any:
        """Return its value in the paper's grid, or NOTHING."""
        above = () if self.section is TopLevel else tuple(title(self.section).split("."))
        try:
            return at(GRID, (*above, *self.path)) if above[:1] in ((), ("tasks",)) else NOTHING
        except (KeyError, TypeError, IndexError):
            return NOTHING


def title(section: type[Section]) -> str:
    return section.model_config.get("title", "").partition(":")[0]


def pages() -> dict[str, list[type[Section]]]:
    """Return the sections with a title of each page, in the order of their modules."""
    return {page: [one for part in parts for one in sections(part)] for page, parts in FILES.items()}


def sections(part: str) -> list[type[Section]]:
    own = tasks.classes()[part].keys if part in tasks.classes() else None
    names = [own] if own else [f"hra_workflow.keys.{name}" for name in MODULES.get(part, [part])]
    modules = map(importlib.import_module, names)
    classes = [one for module in modules for one in vars(module).values() if one_of_its_own(one, module.__name__)]
    shared = [f"hra_workflow.keys.{name}" for name in MODULES["tasks"]]
    classes = [one for one in classes if one.__module__ not in shared or ELSEWHERE.get(title(one), "tasks") == part]
    return sorted(classes, key=lambda one: [*FIRST, title(one)].index(title(one)))


def one_of_its_own(value: Any, module: str) -> bool:
    """Return whether the module defines this section, with a heading, and as the first of its title."""
    own = is_section(value) and value.__module__ == module and title(value)
    return bool(own) and "[" not in value.__name__ and value.__name__ not in ("ModelHub", "ResourcesOfProcesses")


def keys(section: type[Section], prefix: tuple[str, ...] = (), of: type[Section] | None = None) -> Iterator[Key]:
    """Yield the keys of a section's table: not those that it has from another section with a heading."""
    of = of or section
    others = {name for one in section.__mro__[1:] if is_section(one) and title(one) for name in one.model_fields}
    for name, field in section.model_fields.items():
        if name in others and name not in section.__annotations__:
            continue
        if name == "kind" and title(section).startswith("source of"):
            continue  # its heading has it
        key = Key(of, (*prefix, field.alias or name), field)
        yield key
        for inner, step in inside(field.annotation):
            if not title(inner):
                yield from keys(inner, (*key.path, *step), of)


def inside(kind: Any) -> Iterator[tuple[type[Section], tuple[str, ...]]]:
    """Yield the sections in a type, with `*` for each mapping or list around them."""
    if is_section(kind):
        yield kind, ()
    elif get_origin(kind) in (dict, list):
        yield from ((one, ("*", *step)) for one, step in inside(get_args(kind)[-1]))
    else:
        for member in get_args(kind):
            yield from inside(member)


def lines(page: str) -> list[str]:
    """Return the list of the keys of a page."""
    texts = []
    for one in pages()[page]:
        about = markdown((one.__doc__ or "").strip(), page)
        more = [link(other, page) for other in one.__mro__[1:] if is_section(other) and title(other)]
        about += f" With keys of {', '.join(more)}." * bool(more)
        texts += ["", f"## {code(title(one))}", "", about, *rows(one, page)]
    return [*texts, ""]


def rows(section: type[Section], page: str) -> list[str]:
    """Return a line per key with the few keys in it."""
    found = [key for key in keys(section) if key.path[0] not in BY_COMMANDS or len(key.path) == 1]
    groups = [[*group] for _, group in groupby(found, lambda key: key.path[0])]
    texts = [[row(key, page) for key in group] for group in groups]
    parts = [[" ".join(one)] if len(one) <= FEW else one for one in texts]
    return [f"- {text}" for part in parts for text in part]


def row(key: Key, page: str) -> str:
    """Return the line of a key, whose name is bold if every config needs it."""
    name, found = code(".".join(key.path)), facts(key, page)
    name = f"**{name}**" if without(key, page) == REQUIRED else name
    examples = [code(one) for one in key.field.examples or () if isinstance(one, dict) or "{" in f"{one}"]
    meaning = markdown(short(description(key.field)), page) + f" Example: {' or '.join(examples)}." * bool(examples)
    return f"{name}{f' ({found})' if found else ''}: {meaning}"


def short(text: str) -> str:
    """Return the first sentence of a description, and those that explain a value."""
    first, *others = re.split(r"(?<=\.) (?=[A-Z`a-z])", text)
    return " ".join([first, *(one for one in others if re.match(r"\w+: ", one))])


def facts(key: Key, page: str) -> str:
    """Return what the values of a key may be, and what holds without it."""
    absent = without(key, page)
    return ", ".join(filter(None, [kind(key, page), absent if absent != REQUIRED else ""]))


def kind(key: Key, page: str) -> str:
    """Describe the values of a key; of a text or a mapping whose keys follow there is nothing to say."""
    return " or ".join(filter(None, dict.fromkeys(values(page, key.field.annotation, key.field.metadata))))


def values(page: str, kind: Any, limits: Any = ()) -> Iterator[str]:
    """Yield the values that a type has, one text for each member of a union."""
    if is_section(kind):
        yield link(kind, page) if title(kind) else ""
    elif get_origin(kind) is Literal:
        yield ", ".join(map(code, get_args(kind)))
    elif get_origin(kind) in (dict, list):
        inner = " or ".join(filter(None, dict.fromkeys(values(page, get_args(kind)[-1]))))
        yield f"list of {inner}" if get_origin(kind) is list and inner else inner
    elif kind in WORDS:
        signs = [(one, *sign) for one in limits for bound, sign in BOUNDS.items() if isinstance(one, bound)]
        found = [(sign, getattr(one, name)) for one, name, sign in signs]
        shown = [f"{sign} {value:.12g}" for sign, value in found if 0 < value < LARGE]
        yield " ".join(filter(None, [WORDS[kind], *shown]))
    else:
        is_annotated = hasattr(kind, "__metadata__")
        for member in get_args(kind)[:1] if is_annotated else get_args(kind):
            yield from values(page, member, limits_of(kind, limits))


def limits_of(kind: Any, limits: Any) -> list:
    """Return the limits of a member of a type, also those that a Field states."""
    own = [*limits, *getattr(kind, "__metadata__", ())]
    return [one for limit in own for one in (getattr(limit, "metadata", None) or [limit])]


def link(section: type[Section], page: str) -> str:
    """Return a link to the heading of a section; the kinds of sources have one."""
    name = title(section)
    other = next(other for other, sections in pages().items() if any(title(one) == name for one in sections))
    shown = "source" if name.startswith("source of kind") else code(name)
    anchor = "source-of-kind-hub" if shown == "source" else re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-")
    return f"[{shown}]({relative(other, page) if other != page else ''}#{anchor})"


def relative(path: str, page: str) -> str:
    return os.path.relpath(path, Path(page).parent)


def without(key: Key, page: str) -> str:
    """Describe what holds if the user's file does not have a key."""
    absent = stated(key.field, "absent")
    if absent:
        return markdown(absent, page) if absent.startswith("required") else f"else {markdown(absent, page)}"
    if not key.field.is_required():
        return f"default {code(key.field.default)}" if key.field.default not in (None, {}, []) else ""
    value = key.in_grid
    if value is NOTHING:
        return REQUIRED
    return f"default {code(value)}" if not isinstance(value, dict | list) and len(f"{value}") < 40 else ""


def code(value: Any) -> str:
    """Return a value as YAML in one line, as code."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    text = text.removesuffix("\n").removesuffix("\n...")
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False) if "\n" in value or not value.strip() else text.strip("'")
    return f"`{text}`" if "`" not in text else f"`` {text} ``"


def markdown(text: str, page: str) -> str:
    """Return a text with links to other pages and to parts of this one."""

    def link(found: re.Match) -> str:
        path = relative(found[1], page) if found[1] != page else ""
        return f"[{(found[3] or found[2]).strip('#').replace('-', ' ')}]({path}{found[3] or ''})"

    text = re.sub(LINKS, link, text.replace(f" ({page})", ""))
    return re.sub(r"(?<![\w/`\[(#])(config|hra_workflow)/[\w{}/]*\.\w+", r"`\g<0>`", text)


class Plain(GenerateJsonSchema):
    """A schema without the titles that pydantic makes of names."""

    def field_title_should_be_set(self, schema) -> bool:
        return False


def json_schema() -> dict:
    """Return the schema of a complete config, with what the models state about each key."""
    return model_of({}).model_json_schema(schema_generator=Plain)


def for_editors() -> dict:
    """Return the schema of a file that is merged over the paper's grid: no key is needed, and it has `extends`."""

    def partial(value: Any) -> Any:
        if isinstance(value, list):
            return [partial(one) for one in value]
        if not isinstance(value, dict):
            return value
        left_out = ("required", "reruns", "absent", "title", "minProperties", "discriminator")
        kept = {name: one for name, one in value.items() if name not in left_out or not is_keyword(name, one)}
        return {"anyOf" if name == "oneOf" else name: partial(one) for name, one in kept.items()}

    found = partial(json_schema())
    for name, one in found["properties"].items():
        one.setdefault("description", description(model_of({}).model_fields[name]))
    files = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    found["properties"]["extends"] = files | {"description": "Config files that this one is merged over."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | found


def is_keyword(name: str, value: Any) -> bool:
    """Return whether an entry of a schema is the keyword of this name, not a property."""
    return not isinstance(value, dict) or name == "discriminator"


def made() -> dict[Path, str]:
    """Return the files with their texts."""
    pages = {ROOT / page: tables.filled(ROOT / page, "keys", lines(page)) for page in FILES}
    return pages | {SCHEMA: json.dumps(for_editors(), indent=1, ensure_ascii=False) + "\n"}


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text)
