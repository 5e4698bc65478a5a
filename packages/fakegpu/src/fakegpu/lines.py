"""The lines of a script and its own folders at which it waits, makes a tensor, or raises an error."""

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import TracebackType

OWN: tuple[str, ...] = ()  # the folders whose lines are shown, set by run.py
HERE = str(Path(__file__).parent)
CALLER = str(Path(__file__).with_name("run.py"))  # lines outside of it are no script's
LIBRARIES = ("transformers", "accelerate", "diffusers", "peft")
LONGEST = 3  # lines

Place = tuple[str, int]  # file, line
Places = tuple[Place, ...]


def running() -> Places:
    """Return the innermost running own lines, after the lines of the library that they call."""

    def outwards() -> Iterator[Place]:
        frame = sys._getframe(2)
        while frame and frame.f_code.co_filename != CALLER:
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
    inside = (file.removeprefix(folder) for folder in OWN if file.startswith(folder))
    return not file.startswith(HERE) and any("site-packages" not in rest for rest in inside)


@cache
def is_library(file: str) -> bool:
    return any(f"/{library}/" in file for library in LIBRARIES)


def shown(places: Places) -> str:
    return " < ".join(f"{'/'.join(Path(file).parts[-2:])}:{line}" for file, line in places)
