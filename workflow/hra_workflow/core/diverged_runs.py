"""The jobs of a run whose training has diverged (training/divergence.py): they generate and evaluate nothing.

Their outputs are empty files, or files that record this if their format allows it.
"""

import tarfile
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import files, predictions, records


def skip_diverged(job: dict) -> bool:
    """Return whether the run of a job has diverged; if it has, write the job's outputs."""
    if "record" not in job["input"]:  # the base model's
        return False
    record = records.read(job["input"]["record"])
    if record["status"] != records.DIVERGED:
        return False
    for path in job["output"].values():
        WRITERS[Path(path).suffix](path, record)
    print(f"Nothing to do: the training has diverged ({record['error']}).")
    return True


def write_json(path: str, record: dict) -> None:
    records.write(path, {"status": records.DIVERGED, "error": record["error"], "seconds": 0.0, "device": ""})


def write_tar(path: str, record: dict) -> None:
    with files.replacing(path) as temporary:
        tarfile.open(temporary, "w").close()


WRITERS: dict[str, Callable[[str, dict], None]] = {
    ".json": write_json,
    ".tar": write_tar,
    ".gz": lambda path, record: predictions.write(path, []),
}
