"""The entries of datasets in the config."""

from pathlib import Path

CONVERTED = ("splits", "read", "columns", "label", "labels", "answer", "rows", "max_characters", "shuffle", "take")


def generated(function: str, **arguments) -> dict:
    """Return a source that calls a function of hra_workflow/data/synthetic.py."""
    return {"kind": "init", "generator": f"hra_workflow.data.synthetic:{function}"} | arguments


def rows(entry: dict, split: str) -> int | None:
    """Return the number of rows of a split that are used, if the config specifies it."""
    total = (entry.get("rows") or entry.get("source", {}).get("rows") or {}).get(split)
    first = entry.get("take", {}).get(split)
    return min(filter(None, (total, first)), default=None)


def reading(entry: dict) -> dict:
    """Return the settings that read a dataset's text files, for new files with the same `endings`."""
    paths = [path for listed in entry["splits"].values() for path in listed]
    return {"read": entry.get("read"), "endings": sorted({Path(path).suffix for path in paths})}
