"""Snakemake's lock of this folder, and whether the run that wrote it is dead.

A killed Snakemake leaves its lock, and a lock does not name its process, so the next Snakemake stops with "Directory
cannot be locked". The histories of the runs name it: a run writes its lock, then records its start, and no run whose
files overlap can start as long as the lock exists. Only the times of the lock files are read, which are Snakemake's
own; a process in each lock would make this module superfluous (no issue of Snakemake requests it).
"""

from pathlib import Path

from hra_workflow.core import process_identity
from hra_workflow.cost import planned_jobs, run_history

LOCKS = Path(".snakemake/locks")
DEAD = "dead"
UNKNOWN = "no recorded run can have written it: Snakemake was killed before its first job, or runs another workflow"


def state() -> str | None:
    """Return None without a lock, DEAD if its Snakemake has ended on this machine, otherwise why that is not known."""
    written = [path.stat().st_mtime for path in LOCKS.glob("*.lock")]
    if not written:
        return None
    histories = (run_history.read(path) for path in planned_jobs.TABLES.glob(f"*/{run_history.NAME}"))
    runs = [run for history in histories for run in history.unfinished.values() if run["time"] >= min(written)]
    for process in (run["process"] for run in runs):
        if (found := process_identity.state(process)) != DEAD:
            return f"process {process['pid']} on {process['host']}: {found}"
    return DEAD if any(run["time"] >= max(written) for run in runs) else UNKNOWN
