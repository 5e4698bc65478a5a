"""Config files that are merged over the paper's grid: their implied settings, and their differences from the grid.

An overlay is the content of one file of --configfile, in the order of the command line; the files that its key
`extends` names precede it.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from hra_workflow import ROOT
from hra_workflow.core.errors import JobError, each_once
from hra_workflow.models import diffusion

EXTENDS = "extends"  # the key for the files that a user's file is merged over

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(path: Path) -> dict:
    """Read a shipped config file; Snakemake's loader takes ten times as long."""
    return yaml.load(text_of(path), Loader=LOADER)


def text_of(path: Path) -> str:
    """Return the text of a config file; raise JobError if it is not in UTF-8."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        line, byte = content[: problem.start].count(b"\n") + 1, content[problem.start]
        raise JobError(
            f"{path}, line {line}: expected text in UTF-8, found the byte 0x{byte:02x}. Save it as UTF-8"
        ) from problem


def check_written(path: Path) -> None:
    """Raise JobError for a key that is twice in a mapping of a user's file: YAML uses the last one."""
    nodes, seen = [(f"{path}: ", yaml.compose(text_of(path), Loader=LOADER))], set()
    while nodes:
        place, node = nodes.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))  # an alias is the node itself
        pairs = node.value if isinstance(node, yaml.MappingNode) else enumerate(node.value)
        named = [(key.value if isinstance(key, yaml.ScalarNode) else str(key), one) for key, one in pairs]
        each_once(place.rstrip(" .:"), "key", [name for name, _ in named if name != "<<"])
        nodes += [(f"{place}{name}.", one) for name, one in reversed(named)]


def with_extended(paths: Iterable[Path], load: Callable[[Path], dict]) -> list[tuple[Path, dict]]:
    """Return path and content of config files, each after the files that it extends, without the key `extends`.

    A file that several extend is read once, before them. `load` reads a file. Raises JobError for a file that does not
    exist, and for files that extend each other.
    """
    found: dict[Path, tuple[Path, dict]] = {}

    def add(path: Path, above: tuple[Path, ...]) -> None:
        real = path.resolve()
        if real in above:
            chain = " → ".join(map(str, [*above[above.index(real) :], real]))
            raise JobError(f"{path}: {EXTENDS}: expected no circle of files, found {chain}. Remove one")
        if real not in found:
            content = dict(load(path) or {})
            for name in extended(path, content.pop(EXTENDS, [])):
                add(name, (*above, real))
            found[real] = path, content

    for path in paths:
        add(path, ())
    return [*found.values()]


def extended(path: Path, stated) -> list[Path]:
    """Return the files that a config file extends: relative to it, or else to the workflow's own folder."""
    names = [stated] if isinstance(stated, str) else stated
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise JobError(f"{path}: {EXTENDS}: expected the path of a config file, or a list of them, found {stated!r}")
    paths = []
    for name in names:
        places = [path.parent / name, Path(ROOT, name)]
        paths += [place for place in places if place.is_file()][:1]
        if not any(place.is_file() for place in places):
            raise JobError(
                f"{path}: {EXTENDS}: expected a config file {name!r}, found neither {places[0]} nor {places[1]}. "
                "Correct the path, which is relative to this file or to the workflow's folder"
            )
    return paths


def merged(*configs: dict) -> dict:
    """Merge mappings at every depth, as Snakemake does; for any other value, use the last one."""
    result: dict = {}
    for config in configs:
        for key, value in config.items():
            old = result.get(key)
            if isinstance(value, Mapping):
                result[key] = merged(old if isinstance(old, Mapping) else {}, value)
            else:
                result[key] = copy.deepcopy(value)
    return result


def stated(overlay: dict) -> Iterator[tuple[str, dict]]:
    """Yield the tasks of an overlay with their settings; the schema reports values of the wrong type."""
    tasks = overlay.get("tasks")
    for name, settings in tasks.items() if isinstance(tasks, dict) else ():
        if isinstance(settings, dict):
            yield name, settings


def finish_merge(config: dict, overlays: list[dict]) -> list[str]:
    """Complete the merged config in place; return the tasks that `all` makes.

    It removes the tasks that are null and references to columns that were replaced, and gives models the lists of
    targets of their architectures. If an overlay has a task's `columns` without `averages` or `figures`, the task gets
    no averages, and figures of its first column, instead of those of the replaced columns.
    """
    diffusion.add_targets(config)
    if not isinstance(config.get("tasks"), dict):
        return []
    config["tasks"] = {name: settings for name, settings in config["tasks"].items() if settings is not None}
    for name, settings in config["tasks"].items():
        replaced: dict = {}
        for overlay in overlays:
            changes = dict(stated(overlay)).get(name, {})
            replaced = changes if "columns" in changes else replaced | changes if replaced else {}
        if "columns" in replaced:
            if "averages" not in replaced:
                settings["averages"] = []
            if "figures" not in replaced:
                columns = replaced["columns"] if isinstance(replaced["columns"], list) else []
                names = [column["name"] for column in columns if isinstance(column, dict) and "name" in column]
                settings["figures"] = {"parameters": names[:1], "lambda": []}
    return chosen(config, overlays)


def chosen(config: dict, overlays: list[dict]) -> list[str]:
    """Return the tasks that `all` makes: those with a grid in the last overlay that has grids; without one, all."""
    grids = [[name for name, settings in stated(overlay) if "grid" in settings] for overlay in overlays]
    last = next(filter(None, reversed(grids)), list(config["tasks"]))
    return [name for name in config["tasks"] if name in last]


def shipped(folder: Path) -> list[Path]:
    """Return the config files of the paper's grid, in the order in which they are merged; folder: the workflow's.

    A task has rules and a folder of config/.
    """
    tasks = sorted(path.stem for path in (folder / "rules/tasks").glob("*.smk"))
    common = [folder / "config/config.yaml", folder / "config/methods.yaml"]
    return common + [path for task in tasks for path in sorted((folder / "config" / task).glob("*.yaml"))]
