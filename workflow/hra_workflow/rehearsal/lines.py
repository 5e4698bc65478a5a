"""The lines of this repository at which a rehearsed job waits, makes a tensor, or raises an error."""

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import TracebackType

OWN = ("/workflow/scripts/", "/hra_workflow/", "/hra/")
NOT_OWN = ("site-packages", "/hra_workflow/rehearsal/", "/core/job.py")  # the last one calls every script
LIBRARIES = ("transformers", "accelerate", "diffusers", "peft")
LONGEST = 3  # lines

Place = tuple[str, int]  # file, line
Places = tuple[Place, ...]


def running() -> Places:
    """Return the innermost running lines of this repository, after the lines of the library that they call."""

    def outwards() -> Iterator[Place]:
        frame = sys._getframe(2)
        while frame:
            yield frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back

    return chosen(outwards())


def raised(traceback: TracebackType | None) -> Places:
    """Return the lines, as `running` does, of an exception's traceback."""
    seen = []
    while traceback:
        seen.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return chosen(reversed(seen))


def chosen(places: Iterable[Place]) -> Places:
    found = []
    for place in places:
        if is_own(place[0]) or (not found and is_library(place[0])):
            found.append(place)
            if len(found) == LONGEST:
                break
    return tuple(found)


@cache
def is_own(file: str) -> bool:
    return any(part in file for part in OWN) and not any(part in file for part in NOT_OWN)


@cache
def is_library(file: str) -> bool:
    return any(f"/{library}/" in file for library in LIBRARIES)


@cache
def layers() -> str:
    """Return the folder of the library `hra`."""
    return str(Path(importlib.util.find_spec("hra").origin).parent) + "/"


def shown(places: Places) -> str:
    return " < ".join(f"{'/'.join(Path(file).parts[-2:])}:{line}" for file, line in places)
