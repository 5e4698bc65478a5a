"""Inputs that change no result beyond rounding: finished jobs keep theirs, since Snakemake repeats a job with others.

Not by what exists: a job's own process on a compute node must find the same inputs as the planning one, and Snakemake
has deleted the outputs by then.
"""

import os
import re
from collections.abc import Callable


def kept(workflow, output: str, path: str, wanted: bool) -> str | list:
    """Return `path` or [], as recorded for the finished job of `output`; for any other job, `path` if `wanted`."""
    recorded = inputs(workflow, output)
    return path if (wanted if recorded is None else path in recorded) else []


def shards(workflow, merged: str, number: Callable[[int | None], int]) -> list[str]:
    """Return `shard{i}-of-{n}` for every shard of a merged file; `number`: function (recorded number or None) → n."""
    found = re.search(r"\bshard0-of-(\d+)\.", " ".join(inputs(workflow, merged) or ()))
    count = number(int(found[1]) if found else None)
    return [f"shard{shard}-of-{count}" for shard in range(count)]


def unnoted(workflow, output: str) -> list:
    """Have Snakemake make an output again of which it has no metadata, so that nobody knows what it was made from.

    It was copied without .snakemake, or its metadata is damaged. Returns no input.
    """
    if os.path.exists(output) and inputs(workflow, output) is None:
        workflow.dag.forcefiles.add(output)
    return []


def inputs(workflow, output: str) -> list[str] | None:
    """Return the inputs that Snakemake has recorded for an output; None if it was never finished."""
    from snakemake.io import IOFile

    return workflow.persistence.input(IOFile(output))
