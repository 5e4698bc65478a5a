"""Rows of datasets whose config entry states none, for estimates: as downloaded, or the lines of the user's files."""

from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import own_files

HEADER = {".csv": 1, ".tsv": 1, ".jsonl": 0}  # lines that are no rows


def complete(config: dict) -> dict:
    """Return the config with `rows` per split of text in every dataset of a grid, as far as they are known."""
    datasets = dict(config["datasets"])
    for task, settings in config["tasks"].items():
        used = {name for block in settings["grid"] for name in block["datasets"]}
        found = {
            name: entry | {"rows": known(config, task, name, entry)}
            for name, entry in config["datasets"].get(task, {}).items()
            if name in used and "columns" in entry and not entry.get("rows")
        }
        datasets[task] = config["datasets"].get(task, {}) | found
    return config | {"datasets": datasets}


def known(config: dict, task: str, name: str, entry: dict) -> dict[str, int]:
    """Return the rows per split: those of the finished download, else counted in a local source's files of lines."""
    try:
        return files.read_json(Path(config["pathvars"]["resources"], f"datasets/{task}/{name}.manifest.json"))["rows"]
    except (FileNotFoundError, JobError, KeyError):
        pass
    if entry["source"]["kind"] != "local":
        return {}
    folder = own_files.path_of(entry["source"], config["local_root"])
    counted = {split: [lines(folder / path) for path in paths] for split, paths in entry["splits"].items()}
    return {split: sum(numbers) for split, numbers in counted.items() if None not in numbers}


def lines(path: Path) -> int | None:
    """Count the rows of a file with about one per line; None if it is another file, or not there."""
    if path.suffix not in HEADER or not path.is_file():
        return None
    with path.open("rb") as stream:
        return sum(1 for _ in stream) - HEADER[path.suffix]
