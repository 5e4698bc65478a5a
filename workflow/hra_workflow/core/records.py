"""Records of runs and evaluations: JSON files that contain the SHA-256 of their content, so edited ones are refused."""

import hashlib
import json
from pathlib import Path

from hra_workflow.core import files
from hra_workflow.core.errors import JobError

OF_RUN = "train.json"  # the record of a training job, in the run's folder
SEAL = "sha256"
DIVERGED = "diverged"  # the status of a run whose loss or weights have become NaN or infinite


def write(path: str | Path, content: dict) -> None:
    files.write_json(path, with_digest(content))


def read(path: str | Path, remedy: str = "Delete it and run again.") -> dict:
    """Read a record; raise JobError, which ends with `remedy`, if it has changed since `write`."""
    content = files.read_json(path)
    stated = content.get(SEAL) if isinstance(content, dict) else None
    if stated is None or stated != digest(content):
        raise JobError(
            f"{path}: expected the content that was written, with SHA-256 {stated or 'as its last entry'}, found "
            f"another. It was edited or damaged. {remedy}"
        )
    return content


def with_digest(content: dict) -> dict:
    """Add the digest to a record."""
    return content | {SEAL: digest(content)}


def digest(content: dict) -> str:
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != SEAL}, allow_nan=False))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
