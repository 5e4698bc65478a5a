"""The number of shards that a finished file was merged from.

Snakemake repeats a merge whose shards have other names, and first generates these temporary files again. So a number of
shards that the workflow chooses itself must not change for what is finished.
"""

import re


def recorded(workflow, merged: str) -> int | None:
    """Return the number of shards that Snakemake has recorded for a merged file, also while it is made again."""
    from snakemake.io import IOFile

    names = " ".join(workflow.persistence.input(IOFile(merged)) or ())
    found = re.search(r"\bshard0-of-(\d+)\.", names)
    return int(found[1]) if found else None
