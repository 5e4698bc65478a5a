"""The jobs of a table as planned by Snakemake, and the files that identify them.

They are recorded when a run starts, so that `hra-workflow status` needs neither Snakemake nor the config.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from hra_workflow.core import files

TABLES = Path(".snakemake/tables")  # per folder of results, one file per table, from the last run that requested it
OTHER = "other"  # the file of targets that no table needs, such as figures


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
    model: str = ""  # of its task
    seconds: float | None = None  # estimated when planned: on GPUs if it requests any, else on CPUs
    basis: str = ""  # what the estimate is from
    needed: bool = True  # at the time of planning
    probe: bool = False  # of `hra-workflow smoke`, which is no run

    @property
    def hours(self) -> float | None:
        """Return its estimated hours, on all of its devices; None: unknown."""
        return None if self.seconds is None else self.seconds / 3600

    @property
    def wall(self) -> float:
        """Return the estimated hours from its start to its end; 0: unknown."""
        return (self.hours or 0) * self.runs_per_gpu / max(1, self.gpus)

    @property
    def stage(self) -> str:
        return self.rule.partition("_")[0]

    @property
    def run(self) -> str:
        """Name the run that it belongs to, as its folder below the results; empty: several runs share it."""
        if "method" not in self.wildcards:
            return ""
        parts = [self.wildcards.get(name) for name in ("task", "dataset", "method", "variant")]
        parts += [f"seed{self.wildcards['seed']}"] if "seed" in self.wildcards else []
        return "/".join(filter(None, parts))

    @property
    def name(self) -> str:
        return " ".join([self.rule, *("/".join(self.wildcards.values()),) * bool(self.wildcards)])


def folder(results: str) -> Path:
    return TABLES / quote(results, safe="")


def save(results: str, table: str, planned: list[Job]) -> None:
    files.write_json(folder(results) / f"{table}.json", [asdict(one) for one in planned])


def load(path: Path) -> list[Job]:
    return [read(entry) for entry in files.read_json(path)]


def read(entry: dict) -> Job:
    """Return a saved job, also one of another version of the workflow with other estimates."""
    return Job(**{name: value for name, value in entry.items() if name in Job.__dataclass_fields__})


def every() -> Iterator[Job]:
    """Iterate over the jobs of every table that was requested in this folder, except probes; skip damaged files."""
    jobs = (read(entry) for _, _, path in saved() for entry in files.read_if_valid(path))
    return (job for job in jobs if not job.probe)


def saved() -> list[tuple[str, str, Path]]:
    """List the folder of results, name and file of every requested table, and of OTHER."""
    return [(unquote(path.parent.name), path.stem, path) for path in sorted(TABLES.glob("*/*.json"))]
