"""The jobs of a table as planned by Snakemake, and the files that identify them.

They are recorded when a run starts, so that `hra-workflow status` needs neither Snakemake nor the config.
"""

import atexit
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from hra_workflow.core import files, logs, process_identity

TABLES = Path(".snakemake/tables")  # per folder of results, one file per table, from the last run that requested it


@dataclass
class Job:
    rule: str
    wildcards: dict[str, str]
    outputs: list[str]
    log: str
    record: str | None = None  # JSON with its seconds and device
    benchmark: str | None = None  # otherwise Snakemake's file with its seconds
    merged: list[str] = field(default_factory=list)  # files that a temporary output is merged into
    gpus: int = 0
    runs_per_gpu: int = 1
    work: float | None = None  # rows, see estimates.work
    seconds: float | None = None  # estimated when planned: on GPUs if it requests any, else on CPUs
    basis: str = ""  # what the estimate is from
    needed: bool = True  # at the time of planning

    @property
    def hours(self) -> float | None:
        """Return its estimated hours, on all of its devices; None: unknown."""
        return None if self.seconds is None else self.seconds / 3600

    @property
    def stage(self) -> str:
        return self.rule.partition("_")[0]

    @property
    def name(self) -> str:
        return " ".join([self.rule, *("/".join(self.wildcards.values()),) * bool(self.wildcards)])


def folder(results: str) -> Path:
    return TABLES / quote(results, safe="")


def save(results: str, table: str, planned: list[Job]) -> None:
    files.write_json(folder(results) / f"{table}.json", [asdict(one) for one in planned])


def load(path: Path) -> list[Job]:
    """Return saved jobs, also those of another version of the workflow with other entries."""
    names = Job.__dataclass_fields__
    return [Job(**{name: value for name, value in entry.items() if name in names}) for entry in files.read_json(path)]


def saved() -> list[tuple[str, str, Path]]:
    """List the folder of results, name and file of every table that was requested in this folder."""
    return [(unquote(path.parent.name), path.stem, path) for path in sorted(TABLES.glob("*/table_*.json"))]


# Their states, from the files that they write and from the process of their Snakemake

FAILED = "failed: "  # begins the last line of the log of a failed job (core/logs.py)
PROCESS = "process"  # file next to those of the tables, while Snakemake runs


def begin(results: str) -> None:
    """Record this Snakemake until it ends; a killed one leaves its record."""
    path = folder(results) / PROCESS
    files.write_json(path, process_identity.this_process())
    atexit.register(path.unlink, missing_ok=True)


def of_snakemake(results: str) -> tuple[bool, str]:
    """Return whether Snakemake may be running with this folder of results, and a sentence about it."""
    if not (process := files.read_if_valid(folder(results) / PROCESS)):
        return False, "Snakemake is not running."
    state = process_identity.state(process)
    if state == "running":
        return True, "Snakemake is running."
    if state != "dead":
        return True, f"Snakemake is running on {process['host']}, or was killed there (then: snakemake --unlock)."
    return False, (
        "Snakemake was killed; jobs that it submitted to a cluster may still run. To continue: "
        "`snakemake --unlock` and the same command."
    )


def states(path: Path, running: bool) -> list[tuple[Job, str]]:
    """Return the jobs that were planned in the file `path`, with their states. running: whether Snakemake is."""
    planned = os.stat(path).st_mtime
    return [(job, state(job, planned, running)) for job in load(path)]


def state(job: Job, planned: float, running: bool) -> str:
    """Return a job's state. planned: when Snakemake planned it.

    stopped: it has started, and neither finished nor reported an error, and Snakemake has ended.
    """

    def written(file: str) -> bool:
        return os.path.exists(file) and os.stat(file).st_mtime >= planned

    if all(map(os.path.exists, job.outputs)) or any(map(os.path.exists, job.merged)):
        return "done" if not job.needed or any(map(written, (job.log, *job.outputs))) else "waiting"
    if not written(job.log):
        return "waiting"
    if has_failed(job.log):
        return "failed"
    return "running" if running else "stopped"


def has_failed(log: str) -> bool:
    """Return whether the last attempt of a job has ended with an error, other than an interruption."""
    return os.path.isfile(log) and logs.tail(Path(log), 1).startswith(FAILED)
