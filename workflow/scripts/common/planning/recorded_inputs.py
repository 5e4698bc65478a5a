"""Inputs that affect rounding only, which finished jobs keep as they ran: Snakemake repeats a job with other inputs."""


def kept(workflow, output: str, path: str, wanted: bool) -> str | list:
    """Return `path` or [], as recorded for the finished job of `output`; for any other job, `path` if `wanted`.

    Not by what exists: a job's own process on a compute node must find the same inputs as the planning one, and
    Snakemake has deleted the outputs by then.
    """
    from snakemake.io import IOFile

    recorded = workflow.persistence.input(IOFile(output))
    return path if (wanted if recorded is None else path in recorded) else []
