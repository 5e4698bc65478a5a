"""The jobs of a table as planned by Snakemake, and the files that identify them.

They are recorded when a run starts, so that `hra-workflow status` needs neither Snakemake nor the config.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from hra_workflow.core import files

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
