"""Write docs/config/keys.md, every key of the config, from its schema: `python tests/config_keys_page.py`."""

import re
from typing import Any

import yaml

import schema_keys
from config_keys import at
from hra_workflow import tasks
from hra_workflow.config import validation
from schema_keys import Key, given
from support import ROOT, paper_config

PAGE = ROOT / "docs/config/keys.md"
INTRODUCTION = """# Every key

These tables are made from [the schema](../../workflow/schemas/config.schema.yaml) by
`python tests/config_keys_page.py`; a test keeps them current. `*` stands for a name that you choose, or for an entry of
a list. The column “default” has the value that holds if your file does not have the key: that of the paper's grid in
[config/](../../config/README.md), or else that of the code. A required key has none: an entry that you add must have
it. Values after the name of a task are those of the paper's grid. Unknown keys are rejected. A file may also have the
key [`extends`](files.md#a-file-that-extends-another). Other pages explain what the tables only list: [what changing a
value repeats](reruns.md), [hyper-parameters](hyperparameters.md), [methods](methods.md), and the tasks [GLUE](glue.md),
[mathematics](math.md), [subjects](subject.md) and [control](control.md).
"""
HEAD = "| key | meaning | default | example |\n|---|---|---|---|\n"
GROUPS = {"models": "Models and sources", "source": "Models and sources", "methods": "Methods", "peft": "Methods"}
GROUPS |= {"presets": "Presets", "Hyper-parameters": "Presets", "Top level": "The config"}
OF_TASKS = {"tasks.{task}: keys of every task": (), "Hyper-parameters": ("defaults",)}  # section: place below a task
SHORT = 80  # characters of an example that is made of those of a mapping's keys
PAGES = r"docs/(config/)?([\w-]+)\.md(#[\w-]+)?"


def page(root: dict) -> str:
    sections, groups = schema_keys.sections(root), {}
    rows: dict[str, list[str]] = {title: [] for title in sections}
    for key in schema_keys.keys(root):
        rows[key.section].append(row(key))
    for title, schema in sections.items():
        about = markdown(schema.get("description", "")) if schema is not root else ""
        table = HEAD + "".join(rows[title]) if rows[title] else ""
        texts = [f"### {heading(title)}\n", about and f"{about}\n", table]
        groups.setdefault(group(title), {})[title] = "\n".join(filter(None, texts))
    contents = [f"- {name}: {', '.join(map(link, titles))}\n" for name, titles in groups.items()]
    parts = [INTRODUCTION, "\n", *contents]
    for name, texts in groups.items():
        parts += [f"\n## {name}\n\n", "\n".join(texts.values())]
    return "".join(parts)


def group(title: str) -> str:
    """Return the heading above a section."""
    name = re.split(r"[. ](?=[\w{])", title)
    if name[0] in ("tasks", "datasets") and name[1] in tasks.classes():
        return tasks.classes()[name[1]].title
    return next((heading for start, heading in GROUPS.items() if title.startswith(start)), "Every task")


def link(title: str) -> str:
    return f"[{heading(title.partition(': ')[0])}](#{anchor(title)})"


def row(key: Key) -> str:
    """Return the row of a key; a mapping whose keys follow shows an example if that is short."""
    meaning = markdown(key.get("description") + values(key))
    meaning += f" Keys: {', '.join(map(link, key.sections))}." if key.sections else ""
    shown = " or ".join(map(code, key.get("examples"))) if given(key.get("examples")) else code(key.example)
    shown = shown if given(key.get("examples")) or len(shown) <= SHORT else "those of its keys"
    return "| " + " | ".join((f"`{'.'.join(key.path)}`", meaning, default(key), shown)) + " |\n"


def values(key: Key) -> str:
    """Return the values that the schema allows, if its text does not have them all."""
    allowed = [one for part in key.parts for one in part.get("items", part).get("enum", ())]
    names = [code(one).strip("`") for one in allowed]
    missing = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", key.get("description"))]
    return f" One of {', '.join(names)}." if missing else ""


def default(key: Key) -> str:
    """Return a key's default, or what holds without the key; the keys of a mapping in the grid have their own."""
    value, absent = key.get("default"), key.get("absent")
    if given(value):
        found = code(value)
    elif given(absent):
        found = markdown(absent)
    elif key.required and not (in_grid(key) or in_every_task(key)):
        found = "required"
    else:
        found = "that of the grid" if key.place is None or key.sections or not key.keys else "those of its keys"
    return "; ".join(filter(None, [found, shipped(key)]))


def in_grid(key: Key) -> bool:
    """Return whether the paper's grid has the key, which has no name that a user chooses."""
    if key.place is None:
        return False
    above = at(paper_config(), key.place[:-1])
    return above is not None and key.place[-1] in above


def in_every_task(key: Key) -> bool:
    return key.section in OF_TASKS and len(key.path) == 1


def shipped(key: Key) -> str:
    """Return the values of a key of every task in the paper's grid, if they are texts or numbers and no default."""
    if not in_every_task(key):
        return ""
    values, grid = {}, paper_config()["tasks"]
    for task in tasks.classes():
        settings = at(grid[task], OF_TASKS[key.section])
        value = settings.get(key.path[0], key.get("default"))
        if value != key.get("default") and not isinstance(value, dict | list):
            values.setdefault(code(value), []).append(task)
    return "; ".join(f"{', '.join(names)}: {value}" for value, names in values.items())


def code(value: Any) -> str:
    """Return a value as YAML in one line, as code in a table."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    text = text.removesuffix("\n").removesuffix("\n...").replace("|", "\\|")
    return f"`{text}`" if "`" not in text else f"`` {text} ``"


def markdown(text: str) -> str:
    """Return a text of the schema for a table: with links to pages, and paths as code."""
    text = re.sub(r"(?<![\w/`])config/[\w{}/]*(\.\w+)?", r"`\g<0>`", " ".join(text.split()).replace("->", "→"))
    place = {True: "", False: "../"}
    text = re.sub(PAGES, lambda at: f"[{at[2].replace('-', ' ')}]({place[bool(at[1])]}{at[2]}.md{at[3] or ''})", text)
    return text.replace("|", "\\|")


def heading(title: str) -> str:
    name, colon, about = title.partition(": ")
    coded = re.sub(r"[\w.]*\.[\w.{}]+|^(resources|tune|evaluators|source)$", r"`\g<0>`", name)
    return coded + colon + about


def anchor(title: str) -> str:
    """Return GitHub's anchor of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def written() -> dict:
    """Return the schema as its file has it, with the kinds of methods."""
    found, complete = validation.written(), validation.schema()
    found["$defs"]["method"]["properties"]["kind"] = complete["$defs"]["method"]["properties"]["kind"]
    return found


if __name__ == "__main__":
    PAGE.write_text(page(written()))
