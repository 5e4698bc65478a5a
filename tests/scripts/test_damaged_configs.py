"""A config that anything has happened to is accepted, or refused by a message with the key: never a traceback."""

import copy
import datetime
import json
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

from config_keys import at
from demo_changes import demo_config
from hra_workflow.config import overlays, validation
from hra_workflow.core.errors import JobError

DAMAGES = 150
KINDS = ["value", "value", "swapped", "swapped", "gone", "again", "unknown", "renamed"]
VALUES = [
    None, True, -1, 0, 3, 1.0, 2.5, 2**32, 2**62, 10**30, float("nan"), float("inf"), float("-inf"), "", "x", "a b",
    "1e-5", "{", "a/b", "../x", "a\nb", [], {}, ["x"], [1], [None], [[]], [{}], {"x": 1}, {1: 2}, {"name": "x"}, b"x",
    datetime.date(2026, 1, 1),
]  # fmt: skip


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every key and every item below a value."""
    if isinstance(value, dict | list):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, name)
            yield from places(one, (*path, name))


def damage(config: dict, chosen: random.Random, path: tuple) -> str:
    """Damage a config in place at a path; return what was done."""
    parent, name = at(config, path[:-1]), path[-1]
    value = parent[name]
    alike = [one for one in map(partial(at, config), places(config)) if type(one) is type(value)]
    kind = chosen.choice(KINDS)
    match kind:
        case "swapped":
            parent[name] = value = copy.deepcopy(chosen.choice(alike))
            return f"instead {value!r}"
        case "gone" if len(path) > 1:  # the shipped files state every key of the top level
            del parent[name]
        case "again" if isinstance(value, list) and value:
            parent[name] = [*value, copy.deepcopy(chosen.choice(value))]
        case "unknown" if isinstance(value, dict):
            value[chosen.choice(["unknown", 3, "", "a/b", None])] = chosen.choice(VALUES)
        case "renamed" if isinstance(parent, dict):
            parent[chosen.choice(["x", "a b", "a/b", 3])] = parent.pop(name)
        case _:
            parent[name] = value = copy.deepcopy(chosen.choice(VALUES))
            return f"instead {value!r}"
    return kind


def overlay(config: dict, path: tuple, depth: int) -> dict:
    """Return what a file states that has one key of a config at this depth, which is above a path."""
    value, above = config, []
    for name in path[:depth]:
        if isinstance(value, dict) and name in value:
            value, above = value[name], [*above, name]
    for name in reversed(above):
        value = {name: value}
    return value


def fault(config: dict, paths: list[tuple], seed: int) -> str | None:
    """Damage a config, or a key of it that is merged over it; return what is wrong with the answer, None if nothing."""
    chosen = random.Random(seed)
    path, own = chosen.choice(paths), copy.deepcopy(config)
    what = f"{seed}: {'.'.join(map(str, path))}: {damage(own, chosen, path)}"
    depth = chosen.choice([0, 1, 2, 3, 4])
    stated = overlay(own, path, depth)
    try:  # as the Snakefile does
        merged = overlays.merged(config if depth else {}, stated)
        overlays.finish_merge(merged, [stated])
        validation.check(merged)
    except JobError as problem:
        text = str(problem)
        named = any(f"{name}" in text for name in (*path[:3], "found 3"))
        lines = all(line.startswith("config: ") for line in text.splitlines())
        return None if lines and named else f"{what}: {text}"
    except Exception as problem:
        return f"{what}: {problem!r}"
    return None


def test_damaged_configs_are_accepted_or_refused_with_their_key():
    config = demo_config()
    used = json.dumps(config["tasks"])
    for key in ("models", "methods"):  # without what no run uses, it takes a part of the time to check
        config[key] = {name: one for name, one in config[key].items() if f'"{name}' in used}
    for entries in config["datasets"].values():
        for name in [name for name, one in entries.items() if one["source"]["kind"] != "init"]:
            del entries[name]
    config["presets"] = {task: {"demo": entries["demo"]} for task, entries in config["presets"].items()}
    paths = list(places(config))
    faults = [fault(config, paths, seed) for seed in range(DAMAGES)]
    assert not any(faults), "\n".join(filter(None, faults))
