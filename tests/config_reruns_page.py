"""Write docs/config/reruns.md, the class of every key of the config: `python tests/config_reruns_page.py`."""

import re

from config_keys import leaves
from config_pages import json_schema
from support import ROOT

PAGE = ROOT / "docs/config/reruns.md"
INTRODUCTION = """# What changing a key repeats

After a change of the config, rerun the command: only the jobs that depend on the change run again. Each key has a
class, the earliest stage that a change of it repeats. Keys below a listed key have the same class, unless they are
listed themselves. Changing an entry that no run uses repeats nothing: a variant, dataset or preset that no grid names,
or a default that every preset overrides.

The classes are in [the models of the keys](../../workflow/hra_workflow/keys/) (`reruns`). Tests change every leaf of
the demo's config and compare the jobs of a dry run with its class. They also keep this page current;
`python tests/config_reruns_page.py` rewrites it.
"""
MEANING = {
    "data": "Files are downloaded, converted or computed again, and then everything that depends on them. A source "
    "that describes the same files as before, by hash or URL, repeats nothing.",
    "training": "Runs are trained and evaluated again; for a key of a method, dataset or preset, only its runs.",
    "evaluation": "Outputs are generated and evaluated again. Nothing is trained.",
    "table": "Only tables, figures and contact sheets are rebuilt.",
    "nothing": "No job runs again.",
}


def page() -> str:
    """Render the page; keys of several tasks share an entry."""
    tasks, classes = {}, {}
    for leaf in leaves(json_schema()):
        task = re.match(r"(tasks|datasets|presets)\.(\w+)", leaf.given)
        key = leaf.given if not task else leaf.given.replace(task[0], f"{task[1]}.TASK", 1)
        classes.setdefault(leaf.reruns, {}).setdefault(key, set()).add(task and task[2])
        if task:
            tasks.setdefault(task[1], []).append(task[2])

    def format_key(key: str, own: set) -> str:
        every = set(tasks.get(key.split(".")[0], ()))
        names = "*" if own == every else ",".join(sorted(own - {None})).join("{}" if len(own) > 1 else ("", ""))
        return f"`{key.replace('TASK', names)}`"

    parts = [INTRODUCTION]
    for name, meaning in MEANING.items():
        keys = ", ".join(format_key(key, own) for key, own in sorted(classes[name].items()))
        parts.append(f"## {name.capitalize()}\n\n{meaning}\n\n{keys}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
