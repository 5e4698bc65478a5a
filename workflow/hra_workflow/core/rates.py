"""The throughput of a job, reported in one line of its log; `hra-workflow smoke` estimates GPU-hours from it."""

import json
import time
from pathlib import Path

from hra_workflow.core import provenance

MARK = "rate: "
clock = time.monotonic  # the clock of the reported time, which HRA_RUN_JOBS_WITH may replace


def report(rows: int, seconds: float, device: str) -> None:
    """Print the number of rows that a job processed, the seconds of pure work, and the peak memory in bytes."""
    if not rows or seconds <= 0:
        return
    peak, available = provenance.peak_memory_bytes(device), provenance.memory_bytes(device)
    found = {"rows": rows, "seconds": round(seconds, 6), "peak_memory_bytes": peak, "memory_bytes": available}
    print(MARK + json.dumps(found | {"device": provenance.device_name(device)}), flush=True)


def period(settings: dict) -> int:
    """Return the number of steps after which their times recur, from a probe's hyper-parameters."""
    return settings.get("period", 1)


def means(seconds: list[float], period: int) -> list[float]:
    """Return the mean of every `period` consecutive steps."""
    return [sum(seconds[at : at + period]) / period for at in range(len(seconds) - period + 1)]


def last(log: str | Path) -> dict | None:
    """Return the last rate that a log reports, or None."""
    try:
        lines = Path(log).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    found = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    return json.loads(found[-1]) if found else None
