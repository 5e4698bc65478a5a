"""The run of a script on a fake GPU, and its observations."""

import importlib
import json
import os
import pkgutil
import runpy
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fakegpu import cuda

KEY = "fakegpu"  # the key of a job with its settings
KILLED = os.EX_TEMPFAIL  # exit status of a script that has killed itself, as planned: the next process resumes it


@dataclass(frozen=True)
class Settings:
    """Settings of a job, in its key `fakegpu`; all are optional.

    main: the function of the script that gets the job; null: the script runs as __main__, with these `arguments`.
    own: folders whose lines of code are shown; the script's folder if not given.
    processes: of a distributed job, of which the first one runs.
    rows_per_step, rows_per_device: rows that one GPU processes per step of the optimizer, and in one batch.
    period: steps after which their times recur.
    clock: `module:attribute` to replace by the clock of the GPU, a function that returns seconds.
    killed: how the message of the error begins with which the job kills itself as planned.
    float64: folders whose operations in float64 are intended.
    prepare: `module:function` of each function to call with torch and the observer before the script runs, such as
    fakegpu.answers:rewarded_answers for TRL's GRPOTrainer.
    """

    main: str | None = "main"
    arguments: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    processes: int = 1
    rows_per_step: int | None = None
    rows_per_device: int | None = None
    period: int = 1
    clock: str | None = None
    killed: str | None = None
    float64: list[str] = field(default_factory=list)
    prepare: list[str] = field(default_factory=list)


def observe(script: Path, job: dict, card: cuda.Card, kernels: bool = False) -> tuple[dict, Exception | None]:
    """Run the script on the card; return what was observed, and the error that ended it.

    kernels: list the kernels of every step.
    """
    settings = Settings(**job.get(KEY, {}))
    if settings.processes > 1:  # the first process; the others do not exist
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(settings.processes)}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    torch = cuda.load()
    from fakegpu import fake_mode, lines
    from fakegpu.observer import Observer

    lines.OWN = tuple(f"{Path(folder)}/" for folder in settings.own or [script.parent])
    observer, started, problem = Observer(torch, card.speed, settings.float64), time.monotonic(), None
    cuda.imitate(torch, card, observer)
    sys.path.insert(0, str(script.parent))
    if settings.clock:
        module, _, attribute = settings.clock.partition(":")
        setattr(importlib.import_module(module), attribute, observer.clock)
    for name in settings.prepare:
        pkgutil.resolve_name(name)(torch, observer)
    module = __import__(script.stem) if settings.main else None
    with fake_mode.entered(torch, observer):
        try:
            if module:
                getattr(module, settings.main)(job)
            else:
                with as_program(script, settings.arguments):
                    runpy.run_path(str(script), run_name="__main__")
        except Exception as error:
            problem = error
    text = problem and " ".join(f"{type(problem).__name__}: {problem}".split())
    steps = [named(step, kernels) for step in observer.steps]
    return {
        "error": text,
        "raised": lines.shown(lines.raised(problem.__traceback__)) if problem else "",
        "killed": bool(problem and settings.killed and text.startswith(settings.killed)),
        "resumed": False,
        "seconds": round(time.monotonic() - started, 1),
        "card": card.name,
        "card_bytes": card.total_memory,
        "processes": settings.processes,
        "rows_per_step": settings.rows_per_step,
        "rows_per_device": settings.rows_per_device,
        "period": settings.period,
        "peak_bytes": observer.peak,
        "parts": observer.parts,
        **rate(steps, settings),
        "steps": steps,
        "waits": counts(observer.waits),
        "float64": counts(observer.float64.counted),
    }, problem


@contextmanager
def as_program(script: Path, arguments: list[str]) -> Iterator[None]:
    """Give a script its command line; its exit is its end, and another status than 0 an error."""
    sys.argv = [str(script), *arguments]
    try:
        yield
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"the script ended with status {end.code}") from end


def rate(steps: list[dict], settings: Settings) -> dict:
    """Return the seconds of a step and of its kernels, and per row; of no steps, none.

    The first step includes the start, and another one has the longest input: the least mean of a period counts.
    """
    if len(steps) < 2:
        return {}
    used, period = steps[len(steps) > settings.period :], settings.period
    periods = [used[at : at + period] for at in range(len(used) - period + 1)]
    means = [[sum(one[name] for one in some) / period for name in ("seconds", "busy_seconds")] for some in periods]
    seconds, busy = min(means)
    rows = settings.rows_per_step
    of_rows = {"seconds_per_row": seconds / rows, "busy_per_row": busy / rows} if rows else {}
    return {"seconds_per_step": seconds, "busy_per_step": busy} | of_rows


def save(observed: dict, path: Path) -> int:
    """Write what was observed, and the higher peak of an attempt before that killed itself; return the exit status."""
    if path.exists() and (before := json.loads(path.read_text()))["killed"]:
        highest = max(observed, before, key=lambda attempt: attempt["peak_bytes"])
        observed |= {"resumed": True, "peak_bytes": highest["peak_bytes"], "parts": highest["parts"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(observed, indent=1))
    return status(observed)


def status(observed: dict) -> int:
    return KILLED if observed["killed"] else int(observed["error"] is not None)


def named(step: dict, kernels: bool) -> dict:
    listed = {"kernels": [[*kernel, count] for kernel, count in step.pop("kernels").items()]}
    return step | {"waits": counts(step["waits"])} | (listed if kernels else {})


def counts(counted: dict) -> list[dict]:
    return [{"what": what, "lines": places, "count": count} for (what, places), count in counted.items()]
