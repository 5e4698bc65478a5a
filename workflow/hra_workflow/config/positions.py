"""The file and the line of a key of the config, for an error about it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from hra_workflow.config import overlays


def of(problem: str, config: dict, files: Iterable[Path]) -> str:
    """Return ` (FILE, line N)` for the text of an error that begins with `config: KEY: `, or an empty text.

    files: in the order in which they are merged. The last one with the key counts, or else with its mapping.
    """
    place = re.sub(r"\[(\d+)\]", r".\1", problem.removeprefix("config: ").partition(": ")[0])
    path = keys(place, config)
    found: dict[int, str] = {}
    for file in files:
        depth, line = reached(yaml.compose(overlays.text_of(file), Loader=overlays.LOADER), path)
        found[depth] = f" ({file}, line {line})"
    depth = max(found, default=0)
    return found[depth] if depth and depth >= len(path) - 1 else ""


def keys(place: str, value: Any) -> list[str]:
    """Divide the name of a place at its keys, which may contain dots; what follows a key of no mapping is one key."""
    if not place:
        return []
    names = value if isinstance(value, dict) else map(str, range(len(value))) if isinstance(value, list) else ()
    for name in sorted((name for name in names if isinstance(name, str)), key=len, reverse=True):
        if place == name or place.startswith(f"{name}."):
            inner = value[name] if isinstance(value, dict) else value[int(name)]
            return [name, *keys(place[len(name) + 1 :], inner)]
    return [place]


def reached(node: yaml.Node | None, path: list[str]) -> tuple[int, int]:
    """Return how many keys of a path a node has one below the other, and the line of the last."""
    line = node.start_mark.line + 1 if node else 0
    for depth, name in enumerate(path):
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
        elif isinstance(node, yaml.SequenceNode):
            pairs = {str(index): (one, one) for index, one in enumerate(node.value)}
        else:
            pairs = {}
        if name not in pairs:
            return depth, line
        key, node = pairs[name]
        line = key.start_mark.line + 1
    return len(path), line
