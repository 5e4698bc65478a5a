"""Params that repeat a finished job only if what its result depends on has changed.

Snakemake repeats a job whose params differ from the recorded ones in any detail. If a script needs more of the config
than its result depends on, the script gets it in a param that is a function of `output`, which Snakemake does not
record. Snakemake records a second param, named `rerun_…`, which the script does not get (core/job.py).
"""

import ast
import contextlib
from collections.abc import Callable, Iterator


def kept(workflow, output: str, now: dict, part: Callable[[dict], dict]) -> dict:
    """Return the param that is recorded for `output` and has the same `part` as `now`, or else `now`."""
    return next((value for value in mappings(workflow, output) if part(value) == part(now)), now)


def differs(workflow, output: str, now: dict, part: Callable[[dict], dict]) -> bool:
    """Return whether `output` was finished with params of which none has the same `part` as `now`."""
    recorded = list(mappings(workflow, output))
    return bool(recorded) and all(part(value) != part(now) for value in recorded)


def mappings(workflow, output: str) -> Iterator[dict]:
    """Yield the recorded params of a finished output that are mappings; Snakemake records values without names."""
    from snakemake.io import IOFile

    for text in workflow.persistence.params(IOFile(output)) or ():
        if text.startswith("{"):
            with contextlib.suppress(ValueError, SyntaxError):  # not a literal: it contains an infinity
                yield ast.literal_eval(text)
