"""Packs: the training runs that share a GPU as one job of the scheduler, and what Slurm calls the jobs of Snakemake."""

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TypeVar

from common.core import files

FOLDER = Path(".snakemake/slurm/packs")  # one folder per pack: pack.json lists its runs
NAME = "pack"
Run = TypeVar("Run")


def of(runs: Iterable[Run], size: int, alike: Callable[[Run], Hashable]) -> list[list[Run]]:
    """Distribute runs over packs: as many full ones as possible of runs that are alike, then of the others, in order.

    Alike are the seeds of one method and dataset, which take equally long.
    """
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(alike(run), []).append(run)
    full, left = [], []
    for some in groups.values():
        whole = len(some) - len(some) % size
        full += chunks(some[:whole], size)
        left += some[whole:]
    return full + chunks(left, size)


def chunks(runs: list[Run], size: int) -> list[list[Run]]:
    return [runs[start : start + size] for start in range(0, len(runs), size)]


def but_seed(wildcards: dict[str, str]) -> tuple:
    """Return what the seeds of a run have in common."""
    return tuple(value for name, value in wildcards.items() if name != "seed")


def comment(rule: str, wildcards: Iterable[str]) -> str:
    """Build the comment with which snakemake-executor-plugin-slurm describes a job to Slurm."""
    values = "_".join(wildcards).replace("/", "_")
    return f"rule_{rule}_wildcards_{values}" if values else f"rule_{rule}"


def comments(slurm_job: str) -> set[str]:
    """Return the comments of all jobs that the Slurm job with this comment runs: several if it is a pack."""
    name = slurm_job.removeprefix(comment(NAME, [""]) + "_wildcards_")
    path = FOLDER / name / "pack.json"
    if name == slurm_job or not path.exists():
        return {slurm_job}
    return {run["comment"] for run in files.read_json(path)["runs"]}
