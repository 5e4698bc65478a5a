"""Snakemake's events of every job, recorded for `hra-workflow status` (cost/run_history.py).

They are recorded by a handler of Snakemake's log, which has an event per job (snakemake_interface_logger_plugins). It
gets all events with any `--quiet`, `--logger` and executor. A logger plugin would get the same events, but only if each
command named it.
"""

import logging
import signal
import sys
import time
import uuid
from pathlib import Path

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.cost import planned_jobs, run_history

RUN = uuid.uuid4().hex[:8]  # this Snakemake
OF_RUNS = ("augment", "train", "generate", "evaluate")  # stages: if such a job fails, other results may still be made


class Recorder(logging.Handler):
    """Writes the events of the jobs to a file. Jobs that end with an error after Ctrl-C or SIGTERM are not failed.

    printing: also print a line per finished job.
    """

    def __init__(self, path: Path, printing: bool = False):
        super().__init__()
        self.path, self.names, self.finished, self.printing = path, {}, [], printing
        self.interrupted, self.interrupting, self.on_signal = False, False, {}
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.getsignal(number)
            if callable(previous):  # SIGINT is ignored in the background of a shell script
                self.on_signal[number] = previous
                signal.signal(number, self.interrupt)
        run_history.begin(path, RUN)

    def interrupt(self, number: int, frame) -> None:
        self.interrupted = True
        if not self.interrupting:  # Snakemake's handler would wait for itself if it is interrupted
            self.interrupting = True
            self.on_signal[number](number, frame)
            self.interrupting = False

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self.names[record.jobid] = planned_jobs.name_of(record.rule_name, record.wildcards)
            self.write(run_history.STARTED, record.jobid)
        elif event == LogEvent.JOB_FINISHED:  # not with `--quiet progress`
            self.write(run_history.FINISHED, record.job_id)
            self.finished.append(self.names.get(record.job_id, ""))
        elif event == LogEvent.PROGRESS and self.printing and self.finished:
            names, self.finished = ", ".join(self.finished), []
            line = f"{time.strftime('%H:%M:%S')}  {record.done} of {record.total} jobs done: {names}"
            print(line, file=sys.stderr, flush=True)
        elif event == LogEvent.JOB_ERROR and not self.interrupted:
            self.write(run_history.FAILED, record.jobid)

    def write(self, event: str, jobid: int) -> None:
        if name := self.names.get(jobid):
            run_history.append(self.path, RUN, event, job=name)

    def close(self) -> None:
        run_history.append(self.path, RUN, run_history.ENDED)
        super().close()


def history_file(config: dict) -> Path:
    return planned_jobs.folder(config["pathvars"]["results"]) / run_history.NAME


def record(workflow, config: dict) -> None:
    """Record the events of this Snakemake, which closes its handlers when it ends.

    `--logger rich` shows finished jobs only by progress bars, and does not show them in a file or a pipe. `make
    preflight` reports failed jobs itself: it stops some intentionally, and runs them again.
    """
    without_bars = "rich" in workflow.output_settings.log_handler_settings and not sys.stderr.isatty()
    logger.addHandler(Recorder(history_file(config), without_bars))
    if config["preflight"]:
        logger.addFilter(lambda record: getattr(record, "event", None) not in (LogEvent.JOB_ERROR, LogEvent.ERROR))


def failed_jobs(config: dict) -> dict[str, str]:
    """Return the jobs that failed when they last ran, each with the Snakemake run."""
    events = run_history.read(history_file(config)).jobs.items()
    return {name: event["run"] for name, event in events if event["event"] == run_history.FAILED}


def advice(config: dict) -> str:
    """Describe how to continue after a run in which not all jobs were done."""
    failed = [name for name, run in failed_jobs(config).items() if run == RUN]
    text = "Not all jobs are done; finished work is kept. "
    if any(not name.startswith(OF_RUNS) for name in failed):
        return f"{text}Correct what the errors above name, then rerun the same command."
    text += "Rerun the same command to continue (training resumes from its last checkpoint)"
    table = ", or append `--config incomplete=True` to it to build the table from the available results"
    return text + table * bool(failed) + "."
