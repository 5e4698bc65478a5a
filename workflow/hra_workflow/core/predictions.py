"""Per-item outputs of a benchmark as gzipped JSON Lines, and its metrics.json, in the same format for every task.

Identical content gives byte-identical files. Generated answers have a head, a first line that records what they
were made from (made_from.py).
"""

import gzip
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from hra_workflow.core import files, made_from, provenance, records
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import listed


def write(path: str | Path, lines: Iterable[dict], head: dict | None = None) -> None:
    """Write the lines. head: what they were made from."""
    first = [{made_from.KEY: head}] if head else []
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [*first, *lines])
    with files.replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


def read(path: str | Path) -> list[dict]:
    """Read the lines, without the head."""
    return read_with_head(path)[1]


def read_with_head(path: str | Path) -> tuple[dict, list[dict]]:
    """Return the head, {} if there is none, and the lines."""
    lines = read_all(path)
    return (lines[0][made_from.KEY], lines[1:]) if lines and lines[0].keys() == {made_from.KEY} else ({}, lines)


def read_all(path: str | Path) -> list[dict]:
    try:
        with gzip.open(path, "rb") as stream:
            text = stream.read()
        # gzip reads an empty file as empty text, and a file truncated between two members as complete.
        if not Path(path).stat().st_size or (text and not text.endswith(b"\n")):
            raise EOFError("the last line is missing")
        return [files.parse_object(line) for line in text.split(b"\n")[:-1]]
    except (EOFError, OSError, ValueError, zlib.error) as problem:
        raise JobError(f"{path} is truncated or corrupted ({problem}). Delete it and run again.") from problem


def evaluated(metrics: str | Path, found: dict) -> list[dict]:
    """Read the predictions from which metrics.json, with the content `found`, was computed; else raise JobError."""
    path = Path(metrics).with_name("predictions.jsonl.gz")
    lines, made = read(path), found["predictions_sha256"]
    if files.sha256(path) != made:
        raise JobError(
            f"{path}: expected the file that metrics.json in its folder was computed from, with SHA-256 {made}, found "
            "another. Delete both and run again."
        )
    return lines


def complete(lines: list[dict], expected: int, where: str) -> list[dict]:
    """Sort the lines by `item`; raise JobError unless each of 0 … expected - 1 occurs exactly once."""
    counts = Counter(line["item"] for line in lines)
    missing = [str(item) for item in range(expected) if item not in counts]
    wrong = [str(item) for item, count in counts.items() if count > 1 or not 0 <= item < expected]
    if missing or wrong:
        raise JobError(
            f"{where}: expected {expected} items, once each. Missing: {listed(missing) or 'none'}; "
            f"duplicate or unexpected: {listed(wrong) or 'none'}. Delete the shards and run again."
        )
    return sorted(lines, key=lambda line: line["item"])


def write_metrics(
    job: dict, started: float, device: str, record: dict, n_items: int, score: str, selections: dict, **more
):
    """Write an evaluation's metrics.json, after its predictions.

    `record`: the run's train.json; `score`: name of the main metric.
    """
    wildcards = job["wildcards"]
    records.write(
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
            "predictions_sha256": files.sha256(job["output"]["predictions"]),
            made_from.KEY: made_from.describe(job),
        }
        | more,
    )
