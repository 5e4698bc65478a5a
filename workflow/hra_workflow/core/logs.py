"""Write what a job reports: its log, lines on Snakemake's terminal, and a file with its error."""

import contextlib
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from hra_workflow.core import files, gpus, launcher, provenance
from hra_workflow.core.errors import JobError, describe

HEADER = "=== "  # begins the first line of every attempt in a log


def redirect(job: dict) -> int:
    """Redirect standard output and error, including children's, to the log, without progress bars.

    Return a descriptor of standard error as it was: Snakemake's terminal. Snakemake deletes the log before a retry.
    Therefore the log is a hard link to a hidden file, to which every attempt appends, starting with a header line.
    """
    os.environ |= {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    log, terminal = Path(job["log"]), os.dup(sys.stderr.fileno())
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
    return terminal


def say(job: dict, terminal: int | None, text: str) -> None:
    """Print a line, also on the terminal if the job's output is redirected."""
    print(text, flush=True)
    if terminal is not None:
        name = " ".join([job["rule"], *filter(None, ["/".join(job["wildcards"].values())])])
        os.write(terminal, f"{name}: {text}\n".encode())


def tail(log: Path, lines: int) -> str:
    """Return the last lines of a log, only those of the last attempt."""
    written = log.read_text(errors="replace").rstrip().splitlines()
    begun = max((number for number, line in enumerate(written) if line.startswith(HEADER)), default=0)
    return "\n".join(written[begun:][-lines:])


def run_guarded(main: Callable[[dict], None], job: dict, terminal: int | None = None) -> str | None:
    """Run `main` and return its error in one line, or None. It ends the log, after a traceback unless it is a JobError.

    It is also written to the terminal, and to the scratch folder for the row of a failed run (collect_runs.py).
    """
    error, started = error_file(job), time.time()
    try:
        main(job)
        if error:
            error.unlink(missing_ok=True)
        return None
    except launcher.ProcessesFailed:
        text = last_error(job, started)
    except Exception as problem:
        text = describe(problem)
        with contextlib.suppress(OSError):  # the disk may be full
            print(text, file=sys.stderr) if isinstance(problem, JobError) else traceback.print_exc()
        if error:
            content = {"status": "failed", "rule": job["rule"], "error": text}
            try:
                files.write_json(error, content | {"log": job["log"], "time": provenance.now()})
            except JobError:
                pass  # Snakemake has ended
            except OSError as second:
                text += f" (and {error} cannot be written: {second.strerror})"
    if terminal is not None:
        ended = "was stopped" if text.startswith("Interrupted: ") else "failed"
        with contextlib.suppress(OSError):
            print(f"{ended}: {text}", flush=True)
        os.write(terminal, f"{job['rule']} {ended}, see {job['log']}\n  {text}\n".encode())
    return text


def error_file(job: dict) -> Path | None:
    """Return the path of the error file, which is in the job's scratch folder and has the stage's name (train)."""
    scratch = job["params"].get("scratch")
    return Path(scratch) / f"{job['rule'].partition('_')[0]}.error.json" if scratch else None


def read_error(path: Path) -> str:
    """Return the error message in an error file, which may be damaged."""
    try:
        return str(files.read_json(path)["error"])
    except (JobError, KeyError, TypeError, OSError):
        return f"unreadable error file {path}"


def last_error(job: dict, since: float) -> str:
    """Return the error message of the process that failed."""
    error = error_file(job)
    if error and error.exists() and error.stat().st_mtime >= since:
        return files.read_json(error)["error"]
    return Path(job["log"]).read_text().strip().splitlines()[-1]
