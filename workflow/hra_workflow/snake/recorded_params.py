"""Params in the two kinds that a rule has: those that Snakemake records, and all others.

Snakemake repeats a finished job whose recorded params differ in any detail from those of the plan. So what a result
depends on is recorded, in a form that does not depend on how the config states it, and everything else is a function of
`output`, which Snakemake does not record. A param named `rerun_…` is recorded, but not given to the script
(core/job.py): the part of an unrecorded one that the result depends on.
"""

from collections.abc import Mapping

EXACT = 2**53  # every whole float below is an exact integer


def recorded(**params) -> dict:
    """Return params that Snakemake records in canonical form; each is a text with wildcards or a function of them."""
    return {name: of_wildcards(param) for name, param in params.items()}


def unrecorded(**params) -> dict:
    """Return params that Snakemake does not record; each is a text with wildcards or a function of them."""
    return {name: of_output(param) for name, param in params.items()}


def of_wildcards(param):
    return lambda wildcards: canonical(value_of(param, wildcards))


def of_output(param):
    return lambda wildcards, output: value_of(param, wildcards)


def value_of(param, wildcards):
    return param(wildcards) if callable(param) else param.format(**wildcards)


def canonical(value):
    """Return an equal value with sorted keys at every depth, and whole numbers as integers."""
    if isinstance(value, Mapping):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < EXACT else value


def differs(workflow, output: str, value: dict) -> bool:
    """Return whether `output` was finished, and with none of its params equal to this mapping."""
    from snakemake.io import IOFile

    params = workflow.persistence.params(IOFile(output))
    return bool(params) and repr(canonical(value)) not in params
