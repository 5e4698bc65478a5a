"""Write the tables of docs/config/models.md from the config: `python tests/licences_page.py`."""

import re
from collections.abc import Iterator
from pathlib import Path

from hra_workflow.core import grid
from hra_workflow.core.wording import listed
from hra_workflow.cost import plan
from support import ROOT, paper_config

PAGE = ROOT / "docs/config/models.md"
MOST = 10  # names in a row
TABLE = re.compile(r"(<!-- licences of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def made() -> dict[Path, str]:
    """Fill the tables of the page with the config's entries."""
    config, text = paper_config(), PAGE.read_text()
    return {PAGE: TABLE.sub(lambda found: found[1] + "\n".join(table(config, found[2])) + f"\n{found[3]}", text)}


def table(config: dict, kind: str) -> Iterator[str]:
    """Yield the lines of a table: the entries of a licence and a task in one row, those of the paper's tables first."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for name, entry, used in sorted(entries(config, kind), key=lambda one: (not one[2], one[2])):
        access = "token" if entry["source"].get("gated") else "–" if plan.is_remote(entry) else "in this repository"
        rows.setdefault((linked(entry["license"]), used or "not in the paper's tables", access), []).append(f"`{name}`")
    yield "| name in the config | licence | used by | access |"
    yield "|---|---|---|---|"
    for (licence, used, access), names in rows.items():
        yield f"| {listed(names, MOST)} | {licence} | {used} | {access} |"


def entries(config: dict, kind: str) -> Iterator[tuple[str, dict, str]]:
    """Yield name, entry and the tasks of the paper's grid that use it, of models or datasets."""
    used = {task: names_in(config, task) for task in config["tasks"]}
    if kind == "models":
        for name, entry in config["models"].items():
            yield name, entry, ", ".join(task for task, names in used.items() if name in names)
    else:
        for task, found in config["datasets"].items():
            for name, entry in found.items():
                yield name, entry, task * (name in used[task])


def names_in(config: dict, task: str) -> set[str]:
    """Return every name that the task's settings, and the datasets of its grid, refer to."""
    datasets = [config["datasets"][task][name] for name in grid.datasets(config, task)]
    used = [config["tasks"][task], *(entry.get("benchmarks", {}) for entry in datasets)]
    return {text.partition("/")[0] for one in used for text in texts(one)} | {*grid.datasets(config, task)}


def texts(value) -> Iterator[str]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def linked(licence: str) -> str:
    return re.sub(r"https?://[^\s;]+", lambda found: f"<{found[0]}>", licence)


if __name__ == "__main__":
    PAGE.write_text(made()[PAGE])
