"""What a model gave for a benchmark: gzipped JSON lines, one an item, the same bytes for the same content.

And what that comes to: metrics.json, alike for every task.
"""

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from common import files, provenance
from common.job import JobError


def write(path: str | Path, lines: Iterable[dict]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
    temporary.replace(path)


def read(path: str | Path) -> list[dict]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            return [json.loads(line) for line in stream]
    except (EOFError, OSError, ValueError) as problem:
        raise JobError(f"{path} is cut off or damaged ({problem}). Delete it and run again.") from problem


def complete(lines: list[dict], expected: int, where: str) -> list[dict]:
    """The lines in order of `item`; JobError unless each of 0 … expected - 1 is there once."""
    counts = Counter(line["item"] for line in lines)
    missing = [item for item in range(expected) if item not in counts]
    wrong = [item for item, count in counts.items() if count > 1 or not 0 <= item < expected]
    if missing or wrong:
        raise JobError(
            f"{where}: expected {expected} items, once each. Missing: {some(missing)}; "
            f"double or unknown: {some(wrong)}. Delete the shards and run again."
        )
    return sorted(lines, key=lambda line: line["item"])


def some(items: list[int]) -> str:
    return ", ".join(map(str, items[:5])) + (f", … ({len(items)})" if len(items) > 5 else "") or "none"


def write_metrics(job: dict, started: float, device: str, record: dict, n_items: int, score: str, selections: dict):
    """Write an evaluation's metrics.json. `record`: of the run's training; `score`: the metric that sums it up."""
    wildcards = job["wildcards"]
    files.write_json(
        job["output"]["metrics"],
        {key: wildcards[key] for key in ("task", "dataset", "method", "variant")}
        | {
            "seed": record["seed"],
            "benchmark": wildcards["benchmark"],
            "task_version": job["params"]["task_version"],
            "n_items": n_items,
            "score": score,
            "selections": selections,
            "seconds": round(time.monotonic() - started, 3),
            "device": provenance.device_name(device),
        },
    )
