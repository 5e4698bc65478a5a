"""Snakemake as it is, but for one pause: the executor waits ten seconds longer each time no job has ended, and the jobs
of the tests take seconds."""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

SECONDS = 1
Executor.next_seconds_between_status_checks = property(lambda self: SECONDS, lambda self, longer: None)

if __name__ == "__main__":
    sys.exit(main())
