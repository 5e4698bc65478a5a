"""What Snakemake does with every job, written down for `make status` (cost/run_history.py).

A handler of Snakemake's log, which has an event per job (snakemake_interface_logger_plugins). It sees them whatever
`--quiet` and `--logger` show, and with every executor. A logger plugin would see the same, but only if each command
names it.
"""

import logging
import signal
import uuid
from pathlib import Path

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.cost import planned_jobs, run_history


class Recorder(logging.Handler):
    """Writes the start and the failure of jobs to a file; their outputs show which are done.

    Jobs that Ctrl-C ends have not failed, although Snakemake reports an error of each.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.run, self.names = path, uuid.uuid4().hex[:8], {}
        self.interrupted, self.on_interrupt = False, signal.getsignal(signal.SIGINT)
        if callable(self.on_interrupt):  # it is ignored in the background of a shell script
            signal.signal(signal.SIGINT, self.interrupt)
        run_history.begin(path, self.run)

    def interrupt(self, *arguments) -> None:
        self.interrupted = True
        self.on_interrupt(*arguments)

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self.names[record.jobid] = planned_jobs.name_of(record.rule_name, record.wildcards)
            run_history.append(self.path, self.run, run_history.STARTED, job=self.names[record.jobid])
        elif event == LogEvent.JOB_ERROR and record.jobid in self.names and not self.interrupted:
            run_history.append(self.path, self.run, run_history.FAILED, job=self.names[record.jobid])

    def close(self) -> None:
        run_history.append(self.path, self.run, run_history.ENDED)
        super().close()


def record(results: str) -> None:
    """Write down the events of this Snakemake, which closes its handlers when it ends."""
    logger.addHandler(Recorder(planned_jobs.folder(results) / run_history.NAME))
