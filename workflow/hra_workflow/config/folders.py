"""Check of the folders of a config."""

import os
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

from hra_workflow.core.errors import expect


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
