"""The exception for errors that a user can fix, and checks that raise it."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator


class JobError(Exception):
    """Reports what was expected, what was found and how to fix it; shown without a traceback."""


def describe(problem: Exception) -> str:
    """Format an error as one line for the terminal and the run table."""
    text = f"{type(problem).__name__}: {problem}"
    if "No space left" in text:
        text += ". Free some space and run again: finished work is kept, training resumes from its last checkpoint."
    return " ".join(text.split())


@contextlib.contextmanager
def ending_the_run(consequence: str = "") -> Iterator[None]:
    """End Snakemake with the text of a JobError; to other exceptions, Snakemake adds lines of the Snakefile."""
    try:
        yield
    except JobError as problem:
        raise SystemExit(f"Error: {consequence}{problem}") from None


def expect(condition: bool, message: str) -> None:
    """Raise JobError(message) unless the condition holds."""
    if not condition:
        raise JobError(message)


def one_of(place: str, what: str, value, known) -> None:
    """Raise JobError unless `value` is one of the known ones. `place`: its key in the config."""
    expect(value in known, f"{place}: unknown {what} {value!r}; known: {', '.join(map(str, known))}")


def each_once(place: str, what: str, names: Iterable[str]) -> None:
    """Raise JobError if a name occurs more than once. `place`: the key of the list in the config."""
    again = [repr(name) for name, times in Counter(names).items() if times > 1]
    expect(
        not again, f"{place}: expected every {what} once, found {', '.join(again)} more than once. Change one of them"
    )


def check_sizes(found: tuple[int, int], expected: tuple[int, int], what: str) -> None:
    """Raise JobError unless both (width, height) are the same."""
    if found != expected:
        raise JobError(
            f"{what}: expected {expected[0]} × {expected[1]} pixels, as the image has, found {found[0]} × {found[1]}. "
            "Resize one to the other (labels without interpolation)."
        )
