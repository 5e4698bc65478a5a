"""Write what is made from the models of the config's keys: `python tests/config_pages.py`.

docs/config/keys/: a page per section. workflow/schemas/config.schema.json: a JSON schema for editors.
"""

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from config_keys import at
from hra_workflow import tasks
from hra_workflow.config.model import model_of
from hra_workflow.keys.config import TopLevel
from hra_workflow.keys.problems import is_section, members
from hra_workflow.keys.section import Section, stated
from support import ROOT, paper_config

FOLDER = ROOT / "docs/config/keys"
SCHEMA = ROOT / "workflow/schemas/config.schema.json"
TITLES = {
    "config": "The config's top level",
    "models": "Models and sources",
    "methods": "Methods",
    "hyperparameters": "Hyper-parameters and presets",
    "tasks": "Every task",
}
FIRST = ("Top level", "models.{name}", "methods.{name}", "methods.{name}.variants.{variant}", "tasks.{task}")
MODULES = {"models": ["models", "sources", "datasets"]}
MADE = "Made by `python tests/config_pages.py` from the models in "
WORDS = {int: "integer", float: "number", bool: "boolean", str: "", type(None): "`null`", Any: ""}
BOUNDS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
LINKS = r"docs/(config/)?([\w-]+)\.md(#[\w-]+)?"
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


def description(field: FieldInfo) -> str:
    """Return the description of a key, or else of the section that is its value."""
    bases = [base for one in members(field.annotation) for base in one.__mro__ if is_section(base)]
    own = next((base.__doc__ for base in bases if base.__doc__ and base is not Section), "")
    return " ".join((field.description or own).split())


def title(section: type[Section]) -> str:
    return section.model_config.get("title", "").partition(":")[0]


def pages() -> dict[str, list[type[Section]]]:
    """Return the sections with a title of each page, in the order of their modules."""
    found = {}
    for page in (*TITLES, *tasks.classes()):
        own = tasks.classes()[page].keys if page not in TITLES else None
        names = [own] if own else [f"hra_workflow.keys.{name}" for name in MODULES.get(page, [page])]
        modules = map(importlib.import_module, names)
        classes = [one for module in modules for one in vars(module).values() if one_of_its_own(one, module.__name__)]
        found[page] = sorted(classes, key=lambda one: [*FIRST, title(one)].index(title(one)))
    return found


def one_of_its_own(value: Any, module: str) -> bool:
    """Return whether a value is a section with a heading that the module defines."""
    return is_section(value) and value.__module__ == module and title(value) and named(value)


def named(section: type[Section]) -> bool:
    """Return whether it is no parametrised form of a generic section, and no second one of its title."""
    return "[" not in section.__name__ and section.__name__ not in ("ModelHub", "ResourcesOfProcesses")


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


def page(name: str, sections: list[type[Section]]) -> str:
    """Return the text of a page."""
    heading = TITLES.get(name) or tasks.classes()[name].title
    texts = [f"# {heading}\n\n{MADE}{', '.join(dict.fromkeys(map(source, sections)))}.\n"]
    for one in sections:
        about = markdown((one.__doc__ or "").strip())
        more = [link(other) for other in one.__mro__[1:] if is_section(other) and title(other)]
        about += f" Also the keys of {' and '.join(more)}." * bool(more)
        texts.append(f"\n## {code(title(one))}\n\n{about}\n\n{''.join(map(row, keys(one)))}")
    return "".join(texts)


def source(section: type[Section]) -> str:
    path = Path(*section.__module__.split(".")).with_suffix(".py")
    return f"[{path.name}](../../../workflow/{path})"


def row(key: Key) -> str:
    facts = ", ".join(filter(None, [kind(key), without(key)]))
    examples = [code(one) for one in key.field.examples or ()]
    meaning = markdown(description(key.field)) + f" Example: {' or '.join(examples)}." * bool(examples)
    return f"- {code('.'.join(key.path))}{f' ({facts})' if facts else ''}: {meaning}\n"


def kind(key: Key) -> str:
    """Describe the values of a key; of a text or a mapping whose keys follow there is nothing to say."""
    return " or ".join(filter(None, dict.fromkeys(values(key.field.annotation, key.field.metadata))))


def values(kind: Any, limits: Any = ()) -> Iterator[str]:
    """Yield the values that a type has, one text for each member of a union."""
    if is_section(kind):
        yield link(kind) if title(kind) else ""
    elif get_origin(kind) is Literal:
        yield ", ".join(map(code, get_args(kind)))
    elif get_origin(kind) in (dict, list):
        inner = " or ".join(filter(None, dict.fromkeys(values(get_args(kind)[-1]))))
        name = "list" if get_origin(kind) is list else "mapping"
        yield f"{name} of {inner}" if inner else name if get_origin(kind) is list else ""
    elif kind in WORDS:
        signs = [(one, *sign) for one in limits for bound, sign in BOUNDS.items() if isinstance(one, bound)]
        yield " ".join([WORDS[kind], *(f"{sign} {getattr(one, name):.12g}" for one, name, sign in signs)])
    else:
        is_annotated = hasattr(kind, "__metadata__")
        for member in get_args(kind)[:1] if is_annotated else get_args(kind):
            yield from values(member, limits_of(kind, limits))


def limits_of(kind: Any, limits: Any) -> list:
    """Return the limits of a member of a type, also those that a Field states."""
    own = [*limits, *getattr(kind, "__metadata__", ())]
    return [one for limit in own for one in (getattr(limit, "metadata", None) or [limit])]


def link(section: type[Section]) -> str:
    """Return a link to the heading of a section; the kinds of sources have one."""
    name = title(section)
    page = next(page for page, sections in pages().items() if any(title(one) == name for one in sections))
    shown = "source" if name.startswith("source of kind") else code(name)
    anchor = "source-of-kind-hub" if shown == "source" else re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-")
    return f"[{shown}]({page}.md#{anchor})"


def without(key: Key) -> str:
    """Describe what holds if the user's file does not have a key."""
    absent = stated(key.field, "absent")
    if absent:
        return markdown(absent) if absent.startswith("required") else f"without it: {markdown(absent)}"
    if not key.field.is_required():
        return f"default {code(key.field.default)}" if key.field.default not in (None, {}) else ""
    value = key.in_grid
    if value is NOTHING:
        return "required"
    return f"default {code(value)}" if not isinstance(value, dict | list) and len(f"{value}") < 40 else ""


def code(value: Any) -> str:
    """Return a value as YAML in one line, as code."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    text = text.removesuffix("\n").removesuffix("\n...")
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False) if "\n" in value or not value.strip() else text.strip("'")
    return f"`{text}`" if "`" not in text else f"`` {text} ``"


def markdown(text: str) -> str:
    """Return a text with links to pages."""
    place = {True: "../", False: "../../"}
    text = re.sub(
        LINKS,
        lambda found: f"[{found[2].replace('-', ' ')}]({place[bool(found[1])]}{found[2]}.md{found[3] or ''})",
        text,
    )
    text = re.sub(r"(?<![\w/`\[(])(config|hra_workflow)/[\w{}/]*\.\w+", r"`\g<0>`", text)
    return text


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
    texts = {FOLDER / f"{name}.md": page(name, sections) for name, sections in pages().items()}
    return texts | {SCHEMA: json.dumps(for_editors(), indent=1, ensure_ascii=False) + "\n"}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in made().items():
        path.write_text(text)
