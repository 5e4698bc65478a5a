"""The throughput of a job, as one line of its log: `make preflight` estimates GPU-hours from it."""

import json
import time
from pathlib import Path

from hra_workflow.core import provenance

MARK = "rate: "
clock = time.monotonic  # of what is reported; a rehearsal puts the estimated time of its GPU in its place


def report(rows: int, seconds: float, device: str) -> None:
    """Print how many rows a job processed in how many seconds of pure work, and its peak memory in bytes."""
    if not rows or seconds <= 0:
        return
    peak, available = provenance.peak_memory_bytes(device), provenance.memory_bytes(device)
    found = {"rows": rows, "seconds": round(seconds, 6), "peak_memory_bytes": peak, "memory_bytes": available}
    print(MARK + json.dumps(found | {"device": provenance.device_name(device)}), flush=True)


def last(log: str | Path) -> dict | None:
    """Return the last rate that a log reports, or None."""
    try:
        lines = Path(log).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    found = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    return json.loads(found[-1]) if found else None
