"""All problems of a user's files in one error: the first ones in the files' order, and their number."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hra_workflow.core.errors import JobError

Item, Result = TypeVar("Item"), TypeVar("Result")
SHOWN = 10
COUNTED = 100  # maximum failed calls, each of which may list a folder


@dataclass
class Problem:
    """One kind of problem of several rows.

    rows: their indices, in ascending order. describe: index -> position, expected value and found value. remedy: the
    fix, a sentence. total: the summary of all rows.
    """

    rows: Sequence[int]
    describe: Callable[[int], str]
    remedy: str
    total: str = ""


def stop_at(where: str, *problems: Problem) -> None:
    """Raise JobError with the first rows of all problems; `where`: their file or dataset. Return if there are none."""
    every = [(row, one) for one in problems for row in one.rows]
    if not every:
        return
    found = [one for one in problems if one.rows]
    shown = [one.describe(row) for row, one in heapq.nsmallest(SHOWN, every, key=lambda entry: entry[0])]
    totals = "; ".join(one.total for one in found if one.total)
    remedies = " ".join(dict.fromkeys(one.remedy for one in found))
    if len(every) == 1:
        raise JobError(f"{where}: {shown[0]}{totals and f'; {totals}'}. {remedies}")
    raise JobError(f"{where}: {numbered(shown, len(every))}\n{totals}{totals and '. '}{remedies}")


def numbered(shown: list[str], count: int, at_least: str = "") -> str:
    """Write the number of problems, and the first ones, `shown`, one per line.

    Semicolons separate them in a log, in which an error is one line (core/errors.py).
    """
    rest = [f"and {at_least}{count - len(shown):,} more"] if count > len(shown) else []
    every = ";\n  ".join([*(one.rstrip(".") for one in shown), *rest])
    return f"{at_least}{count:,} problems:\n  {every}."


def each(items: Iterable[Item], call: Callable[[Item], Result], where: str = "") -> list[Result]:
    """Return the results of all calls; raise one JobError with the texts of all that are raised.

    `where`: their file or dataset; without it, the texts are not counted, since each of them has several problems.
    """
    results, texts = [], []
    for item in items:
        try:
            results.append(call(item))
        except JobError as problem:
            texts.append(str(problem))
            if len(texts) == COUNTED:
                break
    if len(texts) > 1 and where:
        raise JobError(f"{where}: {numbered(texts[:SHOWN], len(texts), 'at least ' * (len(texts) == COUNTED))}")
    if texts:
        raise JobError("\n".join(texts))
    return results
