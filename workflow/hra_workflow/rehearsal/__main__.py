"""Rehearse one job and write its observations (see the package's docstring)."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from hra_workflow.core import files, launcher, rates
from hra_workflow.core.job import processes, run_guarded
from hra_workflow.rehearsal import cuda


def main(script: Path, job: dict, result: Path, card: cuda.Card, kernels: bool = False) -> int:
    """Run the script's `main` on the fake device; return 0 unless it fails, and launcher.KILLED if it killed itself.

    kernels: list the kernels of every step.
    """
    if (count := processes(job)) > 1:  # the first process; the others do not exist
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    torch = cuda.load()
    from hra_workflow.rehearsal import fake_mode, libraries, lines
    from hra_workflow.rehearsal.observer import Observer

    observer, started = Observer(torch, card.speed), time.monotonic()
    cuda.imitate(torch, card, observer)
    rates.clock = observer.clock
    sys.path.insert(0, str(script.parent))
    module = __import__(script.stem)
    raised = ""

    def located(job: dict) -> None:
        nonlocal raised
        try:
            module.main(job)
        except Exception as problem:
            raised = lines.shown(lines.raised(problem.__traceback__))
            raise

    if "reward" in (job["params"].get("hyperparameters") or {}):
        libraries.rewarded_answers(torch)
    with fake_mode.entered(torch, observer):
        problem = run_guarded(located, job)
    settings = job["params"].get("hyperparameters") or {}
    killed = bool(settings.get("kill_at_step")) and str(problem).startswith("Interrupted: ")
    # A training that was killed intentionally continues in another process.
    attempts = [{"peak_bytes": observer.peak, "parts": observer.parts}]
    attempts += [files.read_json(result)] if result.exists() else []
    highest = max(attempts, key=lambda attempt: attempt["peak_bytes"])
    files.write_json(
        result,
        {
            "rule": job["rule"],
            "wildcards": job["wildcards"],
            "error": problem,
            "raised": raised,
            "seconds": round(time.monotonic() - started, 1),
            "gpu": int(job["resources"].get("gpu", 0)),
            "card": card.name,
            "card_bytes": card.total_memory,
            "processes": processes(job),
            "rows_per_step": rows_per_step(job),
            "rows_per_device": rows_per_device(job),
            "period": rates.period(settings),
            "peak_bytes": highest["peak_bytes"],
            "parts": highest["parts"],
            "steps": [named(step, kernels) for step in observer.steps],
            "waits": counts(observer.waits),
            "float64": counts(observer.float64.counted),
            "rate": rates.last(job["log"]),
        },
    )
    return launcher.KILLED if killed else int(problem is not None)


def rows_per_step(job: dict) -> int | None:
    """Return the rows of a training job that one GPU processes per step of the optimizer."""
    settings = job["params"].get("hyperparameters") or {}
    return settings["batch_size"] // max(1, job["resources"].get("gpu", 1)) if "batch_size" in settings else None


def rows_per_device(job: dict) -> int | None:
    """Return the rows of a training job in one batch of the model on one GPU."""
    rows = rows_per_step(job)
    return rows and rows // job["params"]["hyperparameters"].get("gradient_accumulation", 1)


def named(step: dict, kernels: bool) -> dict:
    listed = {"kernels": [[*kernel, count] for kernel, count in step.pop("kernels").items()]}
    return step | {"waits": counts(step["waits"])} | (listed if kernels else {})


def counts(counted: dict) -> list[dict]:
    return [{"what": what, "lines": lines, "count": count} for (what, lines), count in counted.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m hra_workflow.rehearsal", description=__doc__)
    for name in ("script", "job", "result"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--card", default="h100", help=f"one of {', '.join(cuda.CARDS)}")
    arguments = parser.parse_args()
    sys.exit(main(arguments.script, json.loads(arguments.job.read_text()), arguments.result, cuda.card(arguments.card)))
