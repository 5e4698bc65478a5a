"""The bridge between Snakemake and the scripts.

A script is a function `main(job)`; the job is a plain dict with `rule`, `input`, `output`, `params`, `resources`,
`threads`, `wildcards` and `log`. The same file therefore runs under Snakemake, under torchrun, from a job.json by hand
(`python workflow/scripts/train_glue.py job.json`) and in pytest (`main({...})`).
"""

import contextlib
import json
import os
import platform
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import files, gpus, installed, launcher, lock, provenance
from hra_workflow.core.errors import JobError
from hra_workflow.core.process_identity import STARTED_BY

HEADER = "=== "  # begins the first line of every attempt in a log

# The files of a training job in a run's scratch folder; other jobs have subfolders there.
OF_TRAINING = ("checkpoint-*", "best", "steps", "*.json", ".*")


def start(
    main: Callable[[dict], None],
    script: str,
    snakemake=None,
    done: Callable[[dict], bool] = lambda job: False,
    trains: bool = False,
    loads_model: bool = False,
    pauses: tuple[float, ...] = (),
) -> None:
    """Run `main` as a Snakemake job, unless `done` returns true, or on the job.json named on the command line.

    trains: both are called while no other process uses the scratch folder, where the job resumes (lock.py), and the job
    writes its outputs even if its Snakemake has ended. loads_model: HRA_RUN_JOBS_WITH runs the job even if it needs no
    GPU. pauses: seconds before the second and each further attempt. They print one line each, Snakemake's `retries` a
    block of lines.
    """
    if snakemake is None:
        if len(sys.argv) != 2:
            raise SystemExit(f"usage: python {script} JOB.json")
        job = json.loads(Path(sys.argv[1]).read_text())
        alone = int(os.environ.get("WORLD_SIZE", 1)) == 1  # torchrun's processes would wait for each other
        with lock.held(job["params"]["scratch"]) if trains and alone else contextlib.nullcontext():
            if run_guarded(main, job):
                raise SystemExit(1)
        return

    def run(job: dict) -> None:
        with contextlib.ExitStack() as stack:
            patience = lock.PATIENCE if gpus.SCHEDULER_JOB else None
            held = (stack.enter_context(lock.held(job["params"]["scratch"], say, patience)),) if trains else ()
            if trains:
                os.environ.pop(STARTED_BY, None)  # from now on, the next Snakemake's job waits for this one
            if done(job):
                return
            command = os.environ.get(launcher.RUN_JOBS_WITH)
            if command and (loads_model or int(job["resources"].get("gpu", 0))):
                launcher.run_with(command, str(Path(snakemake.scriptdir, Path(script).name)), job)
                return
            if not command:  # what the command has written is in these folders too
                forget_finished(job, snakemake.config.get("pathvars", {}))
            gpus.hide_unrequested(job)
            stack.enter_context(gpus.reserved(gpus.to_reserve(job), gpus.runs_per_gpu(job)))
            if processes(job) > 1:
                launcher.torchrun(script, job, processes(job), held)
            else:
                with_retries(main, job, pauses, say)

    def say(text: str) -> None:
        print(text, flush=True)
        name = " ".join([job["rule"], *filter(None, ["/".join(job["wildcards"].values())])])
        os.write(terminal, f"{name}: {text}\n".encode())

    installed.check(Path(snakemake.scriptdir).parents[1])  # a conda environment or a container has its own package
    job = from_snakemake(snakemake)
    terminal = os.dup(sys.stderr.fileno())
    redirect(job)
    if not job["params"].get("network", False):
        os.environ["HF_HUB_OFFLINE"] = "1"
    if problem := run_guarded(run, job):
        stopped = problem.startswith("Interrupted: ")
        with os.fdopen(terminal, "w") as stream:
            print(f"{job['rule']} {'was stopped' if stopped else 'failed'}, see {job['log']}\n  {problem}", file=stream)
        raise SystemExit(1)


def as_list(paths: str | list[str] | None) -> list[str]:
    """Return input files as a list: Snakemake gives one file as a string."""
    return [paths] if isinstance(paths, str) else list(paths or [])


def from_snakemake(snakemake) -> dict:
    """Convert the `snakemake` object of a `script:` rule to a plain dict."""

    def named(values) -> dict:
        return {key: plain(value) for key, value in values.items()}

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, str | int | float | bool | None):
            return str(value) if isinstance(value, str) else value
        return [plain(item) for item in value]

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


def forget_finished(job: dict, pathvars: dict) -> None:
    """Delete the checkpoints of the training runs whose records a job reads: Snakemake has recorded these runs as done.

    If they remained, a repeated training job would end immediately. The checkpoints of a run that another process is
    training remain.
    """
    for name in ("record", "records"):
        for record in as_list(job["input"].get(name)):
            run, results = (Path(os.path.abspath(path)) for path in (Path(record).parent, pathvars["results"]))
            if not run.is_relative_to(results):  # another project's
                continue
            scratch = Path(pathvars["scratch"]) / run.relative_to(results)
            with contextlib.suppress(lock.Locked):
                if found := [path for pattern in OF_TRAINING for path in scratch.glob(pattern)]:
                    with lock.held(scratch, patience=0):
                        for path in found:
                            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def with_retries(main: Callable, job: dict, pauses: tuple[float, ...], say: Callable[[str], None]) -> None:
    """Run `main`, and again after each pause (seconds) while it fails and the error is not final."""
    for attempt, pause in enumerate(pauses, 1):
        try:
            return main(job)
        except Exception as problem:
            if getattr(problem, "final", False):
                raise
            reason = describe(problem).split(". ")[0]  # the remedy follows, with the last attempt
            say(f"attempt {attempt} of {len(pauses) + 1} failed, again in {pause} s: {reason}")
            time.sleep(pause)
    main(job)


def run_guarded(main: Callable[[dict], None], job: dict) -> str | None:
    """Run `main` and return its error in one line, or None.

    The error is written to the log, with a traceback unless it is a JobError. The line is also written to the scratch
    folder, so that a failed run becomes a row of the run table (collect_runs.py).
    """
    error, started = error_file(job), time.time()
    try:
        main(job)
    except launcher.ProcessesFailed:
        return last_error(job, started)
    except Exception as problem:
        text = describe(problem)
        with contextlib.suppress(OSError):  # the disk may be full
            print(text, file=sys.stderr) if isinstance(problem, JobError) else traceback.print_exc()
        if error:
            content = {
                "status": "failed",
                "rule": job["rule"],
                "error": text,
                "log": job["log"],
                "time": provenance.now(),
            }
            try:
                files.write_json(error, content)
            except JobError:
                pass  # Snakemake has ended
            except OSError as second:
                text += f" (and {error} cannot be written: {second.strerror})"
        return text
    if error:
        error.unlink(missing_ok=True)
    return None


def describe(problem: Exception) -> str:
    """Format an error as one line for the terminal and the run table."""
    text = f"{type(problem).__name__}: {problem}"
    if "No space left" in text:
        text += ". Free some space and run again: finished work is kept, training resumes from its last checkpoint."
    return " ".join(text.split())


def error_file(job: dict) -> Path | None:
    """Return the path of the error file, which is in the job's scratch folder and has the stage's name (train)."""
    scratch = job["params"].get("scratch")
    return Path(scratch) / f"{job['rule'].partition('_')[0]}.error.json" if scratch else None


def last_error(job: dict, since: float) -> str:
    """Return the error message of the process that failed."""
    error = error_file(job)
    if error and error.exists() and error.stat().st_mtime >= since:
        return files.read_json(error)["error"]
    return Path(job["log"]).read_text().strip().splitlines()[-1]


def redirect(job: dict) -> None:
    """Redirect standard output and error, including children's, to the log file, without progress bars.

    Snakemake deletes the log before a retry. Therefore the log is a hard link to a hidden file, to which every attempt
    appends, starting with a header line.
    """
    os.environ |= {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    log = Path(job["log"])
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    attempts = log.with_name(f".{log.name}.attempts")
    target = os.open(attempts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    log.unlink(missing_ok=True)
    os.link(attempts, log)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    place = f"{platform.node()}, job {gpus.SCHEDULER_JOB}" if gpus.SCHEDULER_JOB else platform.node()
    print(f"{HEADER}{provenance.now()}, {job['rule']} on {place} ===", flush=True)


def tail(log: Path, lines: int) -> str:
    """Return the last lines of a log, only those of the last attempt."""
    written = log.read_text(errors="replace").rstrip().splitlines()
    begun = max((number for number, line in enumerate(written) if line.startswith(HEADER)), default=0)
    return "\n".join(written[begun:][-lines:])


def processes(job: dict) -> int:
    return max(1, int(job["resources"].get("gpu", 0)))
