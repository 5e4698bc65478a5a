"""Everything that is wrong with a user's files in one error: the first problems in the files' order, and a count."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hra_workflow.core.errors import JobError

Item, Result = TypeVar("Item"), TypeVar("Result")
SHOWN = 10
COUNTED = 100  # failed calls, each of which may look up a folder


@dataclass
class Problem:
    """One kind of problem of several rows.

    rows: their indices, in ascending order. describe: index -> where it is, what was expected and what was found.
    remedy: what to do, a sentence. total: what all of them have in common.
    """

    rows: Sequence[int]
    describe: Callable[[int], str]
    remedy: str
    total: str = ""


def stop_at(where: str, *problems: Problem) -> None:
    """Raise JobError with the first rows of all problems; `where`: what they are of. Return if there are none."""
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
    """Write problems below each other, below their number; `shown`: the first ones.

    The semicolons separate them in a log, which has an error in one line (core/job.py).
    """
    rest = [f"and {at_least}{count - len(shown):,} more"] if count > len(shown) else []
    every = ";\n  ".join([*(one.rstrip(".") for one in shown), *rest])
    return f"{at_least}{count:,} problems:\n  {every}."


def each(items: Iterable[Item], call: Callable[[Item], Result], where: str = "") -> list[Result]:
    """Return the results of all calls; raise one JobError with the texts of those that raise one.

    `where`: what they are of; without it, the texts are not counted, since each of them has several problems.
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
