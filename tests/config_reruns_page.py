"""Write the class of every key of the config to docs/running.md: `python tests/config_reruns_page.py`."""

import re
from pathlib import Path

from benchmarks import tables
from config_keys import leaves
from config_pages import json_schema
from support import ROOT

PAGE = ROOT / "docs/running.md"
MEANING = {
    "data": "Files are downloaded, converted or computed again, and then everything that depends on them. A source "
    "that describes the same files as before, by hash or URL, repeats nothing.",
    "training": "Runs are trained and evaluated again; for a key of a method, dataset or preset, only its runs.",
    "evaluation": "Outputs are generated and evaluated again. Nothing is trained.",
    "table": "Only tables, figures and contact sheets are rebuilt.",
    "nothing": "No job runs again.",
}


def table() -> list[str]:
    """Return the lines of the list; keys of several tasks share an entry."""
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

    lines = []
    for name, meaning in MEANING.items():
        keys = ", ".join(format_key(key, own) for key, own in sorted(classes[name].items()))
        lines += [f"- **{name.capitalize()}.** {meaning} {keys}"]
    return lines


def made() -> dict[Path, str]:
    return {PAGE: tables.filled(PAGE, "classes", table())}


if __name__ == "__main__":
    PAGE.write_text(made()[PAGE])
