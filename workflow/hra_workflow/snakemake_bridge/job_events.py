"""Lines that are printed while jobs run, beyond Snakemake's own log.

A handler of Snakemake's log gets an event per job (snakemake_interface_logger_plugins) with any `--quiet`, `--logger`
and executor. A logger plugin would get the same events, but only if each command named it.
"""

import logging
import sys
import time

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.cost import planned_jobs


class Lines(logging.Handler):
    """Prints a line per finished job: `--logger rich` shows them by progress bars, which a file or a pipe lacks."""

    def __init__(self):
        super().__init__()
        self.names, self.finished = {}, []

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self.names[record.jobid] = planned_jobs.name_of(record.rule_name, record.wildcards)
        elif event == LogEvent.JOB_FINISHED:
            self.finished.append(self.names.get(record.job_id, ""))
        elif event == LogEvent.PROGRESS and self.finished:
            names, self.finished = ", ".join(self.finished), []
            line = f"{time.strftime('%H:%M:%S')}  {record.done} of {record.total} jobs done: {names}"
            print(line, file=sys.stderr, flush=True)


def show(workflow, config: dict) -> None:
    """Print finished jobs where there are no bars. `hra-workflow smoke` reports failed jobs itself: it stops some."""
    if "rich" in workflow.output_settings.log_handler_settings and not sys.stderr.isatty():
        logger.addHandler(Lines())
    if config["preflight"]:
        logger.addFilter(lambda record: getattr(record, "event", None) not in (LogEvent.JOB_ERROR, LogEvent.ERROR))
