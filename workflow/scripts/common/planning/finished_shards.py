"""The shards that a file is merged from, whose number does not change for a finished file unless the config states it.

Snakemake repeats a merge whose shards have other names, and first generates these temporary files again.
"""

import re
from collections.abc import Callable


def names(workflow, merged: str, number: Callable[[int | None], int]) -> list[str]:
    """Return `shard{i}-of-{n}` for every shard of a file; `number`: function (recorded number or None) → n."""
    count = number(recorded(workflow, merged))
    return [f"shard{shard}-of-{count}" for shard in range(count)]


def recorded(workflow, merged: str) -> int | None:
    """Return the number of shards that Snakemake has recorded for a merged file, also while it is made again."""
    from snakemake.io import IOFile

    inputs = " ".join(workflow.persistence.input(IOFile(merged)) or ())
    found = re.search(r"\bshard0-of-(\d+)\.", inputs)
    return int(found[1]) if found else None
