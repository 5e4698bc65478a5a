"""The frame of a script, which is a function `main(job)`.

The job is a plain dict with `rule`, `input`, `output`, `params`, `resources`, `threads`, `wildcards` and `log`. So a
script runs under Snakemake, under torchrun, from a job.json by hand (`python workflow/scripts/train_glue.py job.json`)
and in pytest (`main({...})`).
"""

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import gpus, installed, launcher, lock, logs


def script(main: Callable | None = None, *, trains: bool = False, loads_model: bool = False):
    """Make `main(job)` the script of a rule: `main()` runs the job of Snakemake, or the job.json of the command line.

    trains: no other process uses the scratch folder meanwhile, where the job resumes (lock.py), and the job writes its
    outputs even if its Snakemake has ended. loads_model: HRA_RUN_JOBS_WITH runs the job even if it needs no GPU.
    """
    if main is None:
        return functools.partial(script, trains=trains, loads_model=loads_model)

    @functools.wraps(main)
    def framed(job: dict | None = None) -> None:
        if job is not None:
            return main(job)
        program = sys.modules["__main__"]
        snakemake = getattr(program, "snakemake", None)
        if snakemake:
            installed.check(Path(snakemake.scriptdir).parents[1])  # an environment or a container has its own package
        job = from_snakemake(snakemake) if snakemake else from_command_line()
        terminal = logs.redirect(job) if snakemake else None
        say = functools.partial(logs.say, job, terminal)

        def run(job: dict) -> None:
            with lock.of_training(job, say) if trains else contextlib.nullcontext() as held:
                if not snakemake:
                    return main(job)
                if not job["params"].get("network", False):
                    os.environ["HF_HUB_OFFLINE"] = "1"
                command = os.environ.get(launcher.RUN_JOBS_WITH)
                if command and (loads_model or gpus.requested(job)):
                    return launcher.run_with(command, str(Path(snakemake.scriptdir, Path(program.__file__).name)), job)
                if not command:  # what the command has written is in these folders too
                    lock.forget_checkpoints(job, snakemake.config.get("pathvars", {}))
                launcher.run_on_gpus(main, job, program.__file__, held)

        if logs.run_guarded(run, job, terminal):
            raise SystemExit(1)

    return framed


def as_list(paths: str | list[str] | None) -> list[str]:
    """Return input files as a list: Snakemake gives one file as a string."""
    return [paths] if isinstance(paths, str) else list(paths or [])


def from_command_line() -> dict:
    """Read the job.json that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} JOB.json")
    return json.loads(Path(sys.argv[1]).read_text())


def from_snakemake(snakemake) -> dict:
    """Convert the `snakemake` object of a `script:` rule to a plain dict."""

    def named(values) -> dict:
        return json.loads(json.dumps(dict(values.items()), default=list))  # without Snakemake's classes

    return {
        "rule": snakemake.rule,
        "input": named(snakemake.input),
        "output": named(snakemake.output),
        "params": named(snakemake.params),
        "resources": {key: value for key, value in snakemake.resources.items() if not key.startswith("_")},
        "threads": snakemake.threads,
        "wildcards": named(snakemake.wildcards),
        "log": str(snakemake.log[0]),
    }
