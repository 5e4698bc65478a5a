"""Checks of all keys of a config: finite numbers, unique names, separate folders."""

import math
import os
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

from hra_workflow.core.errors import JobError, each_once, expect

INTEGERS = 2**63  # files and libraries store 64 bits


def check_values(value: Any, place: str = "config", above: tuple[int, ...] = ()) -> None:
    """Raise JobError for the first invalid value at any depth, with its key `place`.

    above: the identities of the mappings and lists that contain the value.
    """
    expect(id(value) not in above, f"{place}: is a mapping or list that contains itself. Write it out without `*`")
    match value:
        case Mapping():
            for key, one in value.items():
                expect(isinstance(key, str), f"{place}: expected texts as keys, found {key!r}. Write it in quotes")
                check_values(one, f"config: {key}" if place == "config" else f"{place}.{key}", (*above, id(value)))
        case list():
            for index, one in enumerate(value):
                check_values(one, f"{place}.{index}", (*above, id(value)))
            names = [one.get("name") for one in value if isinstance(one, Mapping)]
            each_once(place, "name", (name for name in names if isinstance(name, str)))
        case float():
            expect(math.isfinite(value), f"{place}: expected a finite number, found {value}. Write a number")
        case int():
            expect(
                abs(value) < INTEGERS,
                f"{place}: expected an integer of at most 64 bits. Write a smaller one, or a text in quotes",
            )
        case str() | None:
            pass
        case _:
            raise JobError(f"{place}: expected a text, number, list or mapping, found {value!r}. Write it in quotes")


def check_folders(folders: Mapping[str, str]) -> None:
    """Raise JobError if two folders are the same or nested, also through links, or if scratch contains results.

    A job deletes the checkpoints of the runs that it reads there, and `hra-workflow smoke` deletes folders of all runs.
    """
    real = {name: Path(os.path.realpath(folder)) for name, folder in folders.items()}
    for inner, outer in permutations(real, 2):
        expect(
            not real[inner].is_relative_to(real[outer]),
            f"config: pathvars.{inner}: expected a folder apart from {outer}, found {folders[inner]}, which is "
            f"{'the same' if real[inner] == real[outer] else 'within it'} ({real[outer]}). Choose another folder",
        )
    found = sorted(path.name for path in real["scratch"].glob("runs_*.csv"))
    expect(
        not found,
        f"config: pathvars.scratch: expected a folder for training checkpoints, found results in {folders['scratch']}: "
        f"{', '.join(found)}. Finished runs would delete them. Choose another folder",
    )
