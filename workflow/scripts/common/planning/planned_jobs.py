"""The jobs behind a table as Snakemake has planned them, and the files by which each is known.

A run writes them down when it starts, so that `make status` needs neither Snakemake nor the config.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.core import files

TABLES = Path(".snakemake/tables")  # one file a table, of the last run that was asked for it


@dataclass
class Job:
    rule: str
    wildcards: dict[str, str]
    outputs: list[str]
    log: str
    error: str | None = None  # where a failure leaves its message
    record: str | None = None  # the JSON with its seconds and device
    benchmark: str | None = None  # else Snakemake's file with its seconds
    merged: list[str] = field(default_factory=list)  # what a temporary output goes into
    gpus: int = 0
    work: float | None = None  # passes of a row, see costs.work
    stated: float | None = None  # GPU-seconds by the config
    needed: bool = True  # when planned

    @property
    def stage(self) -> str:
        return self.rule.partition("_")[0]

    @property
    def name(self) -> str:
        return " ".join([self.rule, *("/".join(self.wildcards.values()),) * bool(self.wildcards)])


def save(table: str, planned: list[Job]) -> None:
    files.write_json(TABLES / f"{table}.json", [asdict(one) for one in planned])


def load(path: Path) -> list[Job]:
    return [Job(**entry) for entry in files.read_json(path)]
