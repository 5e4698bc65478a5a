"""Printing of a complete config: every value, and the file that it comes from."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from hra_workflow.config import overlays
from hra_workflow.core.errors import expect


def show(files: Iterable[tuple[Path, dict]], place: str = "") -> None:
    """Print `KEY: VALUE  # FILE` of the values at a key and below it; raise JobError if there are none.

    files: path and content, in the order in which they are merged.
    """
    values = overlays.merged(*(placed(content, path) for path, content in files))
    found = [leaf for leaf in leaves(values) if not place or f"{leaf[0]}.".startswith(f"{place}.")]
    expect(found, f"--key {place}: expected a key of the config, found none. Correct it")
    for name, value, path in found:
        click.echo(f"{name}: {shown(value)}  # {os.path.relpath(path)}")


def placed(content: dict, path: Path) -> dict:
    """Return the content of a file with (value, path) instead of every value."""
    return {key: placed(value, path) if isinstance(value, dict) else (value, path) for key, value in content.items()}


def leaves(values: dict, above: str = "") -> Iterator[tuple[str, Any, Path]]:
    """Yield key, value and file of every value."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", *value


def shown(value: Any) -> str:
    """Return a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.strip().removesuffix("\n...")
