"""The graders of mathematical answers, which are the metrics of task math (docs/config/tasks.md explains them)."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from hra_workflow.core import imports


@dataclass(frozen=True)
class Grader:
    """A way to grade an output. Those of GRADERS name their functions, so that a dry run imports no parser.

    readings: (style, output) -> possible answers, in the order in which they are compared. right: (style, answer, gold)
    -> whether an answer is correct; TimeoutError if there is no result within the limits.
    version: increase it when a grade changes, so that answers are graded again.
    """

    readings: Callable[[str, str], list[str]] | str
    right: Callable[[str, str, str], bool] | str
    version: int = 1

    def functions(self) -> list[Callable]:
        """Return `readings` and `right`."""
        both = (self.readings, self.right)
        return [pkgutil.resolve_name(one) if isinstance(one, str) else one for one in both]


_ANSWERS = "hra_workflow.tasks.math.answers"
GRADERS = {
    "official": Grader(f"{_ANSWERS}:official_readings", f"{_ANSWERS}:official_right"),
    "strict": Grader(f"{_ANSWERS}:strict_readings", f"{_ANSWERS}:right", version=3),
    "lenient": Grader(f"{_ANSWERS}:lenient_readings", f"{_ANSWERS}:lenient_right", version=2),
}


def only(extract: Callable[[str, str], str | None]) -> Callable[[str, str], list[str]]:
    """Return the readings of a grader that extracts one answer, or None."""
    return lambda style, output: [answer for answer in [extract(style, output)] if answer is not None]


def find(name: str, key: str = "metric") -> Grader:
    """Return a grader by its name, or import a custom one, `module:name`; errors refer to the config key `key`."""
    return imports.find(GRADERS, Grader, name, key)
