"""The error that a user can put right, and checks that raise it."""


class JobError(Exception):
    """What is wrong and what to do about it: shown without a traceback."""


def expect(condition: bool, message: str) -> None:
    """Raise JobError(message) unless the condition holds."""
    if not condition:
        raise JobError(message)


def one_of(place: str, what: str, value, known) -> None:
    """Raise JobError unless `value` is among the known ones; `place`: its position in the config."""
    expect(value in known, f"{place}: unknown {what} {value!r}; known: {', '.join(map(str, known))}")
